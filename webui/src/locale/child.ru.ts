import child from './ru/child.json'
import common from './ru/common.json'
import words from './ru/words.json'

export default { ...common, ...words, ...child }
