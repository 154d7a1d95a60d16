/** How packages are brought into the bundles: what of them stays out, and how they reach Node's own modules. Most of a start is loading and evaluating code. */
import { builtinModules } from 'node:module'
import type { Plugin } from 'esbuild'

/**
 * Node's own modules by `process.getBuiltinModule` instead of `import`: an import makes Node read every export there is, getters included, and
 * one of `node:http` loads a whole fetch implementation that way, a third of the time this process has to start. Of the names here only those that are used stay.
 */
const builtins: Plugin = {
  name: 'builtins',
  setup({ onResolve, onLoad }) {
    const names = new Set(builtinModules)
    onResolve({ filter: /^(node:)?[a-z_/]+$/ }, ({ path, kind }) => {
      const name = path.replace(/^node:/, '')
      const isBuiltin = names.has(name) || names.has(`node:${name}`)
      return isBuiltin && kind === 'import-statement' ? { path: `node:${name}`, namespace: 'builtin' } : undefined
    })
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({ contents: builtinModule(path), loader: 'js' }))
  },
}

function builtinModule(path: string): string {
  const names = Object.keys(process.getBuiltinModule(path) ?? {}).filter(
    (name) => /^[A-Za-z_]\w*$/.test(name) && name !== 'default',
  )
  return [
    `const all = process.getBuiltinModule(${JSON.stringify(path)})`,
    'const of = (name) => all[name]',
    'export default all',
    // A call that is known to do nothing else is left out where nobody uses what it gives
    ...names.map((name) => `const its_${name} = /* @__PURE__ */ of('${name}'); export { its_${name} as ${name} }`),
  ].join('\n')
}

/** Of classic-level only the native part stays outside; the rest is read with the bundle. It too must be one of the `dependencies`. */
const nativeLevel: Plugin = {
  name: 'native-level',
  setup({ onResolve }) {
    onResolve({ filter: /^[.]\/binding$/ }, ({ importer }) =>
      /classic-level[/][\w-]+[.]js$/.test(importer) ? { path: 'classic-level/binding.js', external: true } : undefined,
    )
  },
}

interface LeftOut {
  /** Import path */
  readonly path: RegExp
  /** File that imports it */
  readonly importer: RegExp
  /** What stands in its place; using what is not there throws, which tests of the bundles would show */
  readonly instead: string
}

/** Parts of packages that a daemon never uses, and that take long to load or bring native parts. */
const LEFT_OUT: readonly LeftOut[] = [
  // An SSH client with native parts, for container engines on other hosts
  { path: /^ssh2$/, importer: /docker-modem/, instead: 'module.exports = {}' },
  // Commands that are files of their own: there are none
  { path: /^node:child_process$/, importer: /commander/, instead: 'export default undefined' },
  // Curves in JavaScript: keys here are Ed25519 alone and made, used and checked by native code. A peer that shows another kind is refused for it
  {
    path: /^@noble\/curves\/(ed25519|secp256k1)\.js$/,
    importer: /@libp2p\/crypto|@chainsafe\/libp2p-noise/,
    instead: 'export const ed25519 = undefined, x25519 = undefined, secp256k1 = undefined',
  },
  // Ciphers and hashes for Electron and browsers: `daemon/net/noise-crypto.ts` has native ones
  {
    path: /^@noble\/(ciphers\/chacha|hashes\/(hkdf|sha2))\.js$/,
    importer: /@chainsafe\/libp2p-noise/,
    instead: 'export const chacha20poly1305 = undefined, extract = undefined, expand = undefined, sha256 = undefined',
  },
  { path: /^@chainsafe\/as-sha256$/, importer: /libp2p-noise/, instead: 'export const digest = undefined' },
  { path: /^wherearewe$/, importer: /libp2p-noise/, instead: 'export const isElectronMain = false' },
  // Locks of the peer store that would be shared with other processes and threads: there are none
  {
    path: /^\.\/node\.js$/,
    importer: /mortice\/dist\/src\/mortice\.js$/,
    instead: "import { TypedEventEmitter } from 'main-event'; export default () => new TypedEventEmitter()",
  },
]

const leftOut: Plugin = {
  name: 'left-out',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /.*/ }, ({ path, importer, resolveDir }) => {
      const at = LEFT_OUT.findIndex((part) => part.path.test(path) && part.importer.test(importer))
      return at < 0 ? undefined : { path, namespace: 'left-out', pluginData: { at, resolveDir } }
    })
    onLoad(
      { filter: /.*/, namespace: 'left-out' },
      ({ pluginData }: { pluginData: { at: number; resolveDir: string } }) => ({
        contents: LEFT_OUT[pluginData.at]?.instead ?? '',
        loader: 'js',
        resolveDir: pluginData.resolveDir,
      }),
    )
  },
}

/** The command and the daemon are bundles of their own, in which few files are shared by few programs, so that a start reads few. */
const daemonAside: Plugin = {
  name: 'daemon-aside',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.\/main\.ts$/ }, ({ importer }) =>
      importer.endsWith('daemon-entry.ts') ? { path: './daemon.js', external: true } : undefined,
    )
  },
}

export const PLUGINS: readonly Plugin[] = [leftOut, builtins, nativeLevel, daemonAside]
