import child from './en/child.json'
import common from './en/common.json'
import words from './en/words.json'

export default { ...common, ...words, ...child }
