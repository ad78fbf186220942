import { join } from '../lib/catalogue'
import child from './en/child.json'
import common from './en/common.json'
import words from './en/words.json'

export default join(common, words, child)
