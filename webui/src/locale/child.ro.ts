import child from './ro/child.json'
import common from './ro/common.json'

export default { ...common, ...child }
