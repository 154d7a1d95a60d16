/** Names of modules and how one names another. Pure and without dependencies: also runs in the process that links programs. */

/** Segments of letters, digits and a few signs, joined by slashes; no segment is `.` or `..`, none starts with a dot or a dash. */
const NAME = /^(?:[\w@+~][\w@+~.-]*\/)*[\w@+~][\w@+~.-]*\.(?:js|mjs|ts|mts|json|txt)$/

export function isModuleName(name: string): boolean {
  return NAME.test(name) && !name.includes('..')
}

/**
 * The module that `specifier` means when `referrer` imports it; whether the program has it is for the caller to see.
 * Relative specifiers start at the folder of the referrer, as for files and URLs; an absolute one (`/lib/a.js`) at the root of the program.
 * @returns `undefined` for a specifier that cannot name a module of a program: a package, a URL, a path that leaves the program
 */
export function resolveSpecifier(specifier: string, referrer: string): string | undefined {
  if (!/^\.{0,2}\//.test(specifier)) return undefined
  const path = specifier.startsWith('/') ? [] : referrer.split('/').slice(0, -1)
  for (const segment of specifier.split('/')) {
    if (segment === '..') {
      if (path.pop() === undefined) return undefined
    } else if (segment !== '.' && segment !== '') path.push(segment)
  }
  const name = path.join('/')
  return isModuleName(name) ? name : undefined
}
