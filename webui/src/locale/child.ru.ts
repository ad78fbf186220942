import { join } from '../lib/catalogue'
import child from './ru/child.json'
import common from './ru/common.json'
import words from './ru/words.json'

export default join(common, words, child)
