import child from './en/child.json'
import common from './en/common.json'

export default { ...common, ...child }
