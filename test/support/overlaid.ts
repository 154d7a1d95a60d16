/** The same thing with some of its functions replaced; the others are called on the real one. */
export function overlaid<T extends object>(real: T, other: Partial<T>): T {
  return new Proxy(real, {
    get: (target, name) => {
      const value: unknown = Reflect.get(name in other ? other : target, name)
      return typeof value === 'function' ? (...of: unknown[]): unknown => Reflect.apply(value, target, of) : value
    },
  })
}
