import { join } from '../lib/catalogue'
import child from './ro/child.json'
import common from './ro/common.json'
import words from './ro/words.json'

export default join(common, words, child)
