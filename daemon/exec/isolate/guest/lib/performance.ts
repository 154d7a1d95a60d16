/** performance.now() as coarse as Date, and as fixed during a step. */
import type { Realm } from '../realm.ts'
import { exposeInterface } from './web-idl.ts'

export default (realm: Realm) => {
  const KEY = Symbol('runtime')
  class Performance {
    constructor(key?: unknown) {
      if (key !== KEY) throw new TypeError('Illegal constructor')
    }
    now() {
      return realm.elapsed()
    }
    get timeOrigin() {
      return realm.now() - realm.elapsed()
    }
    toJSON() {
      return { timeOrigin: this.timeOrigin }
    }
  }
  exposeInterface(Performance)
  return { Performance, performance: new Performance(KEY) }
}
