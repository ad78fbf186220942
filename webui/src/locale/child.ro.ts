import child from './ro/child.json'
import common from './ro/common.json'
import words from './ro/words.json'

export default { ...common, ...words, ...child }
