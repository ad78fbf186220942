import child from './ru/child.json'
import common from './ru/common.json'

export default { ...common, ...child }
