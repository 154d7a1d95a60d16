/**
 * Brings a clone to where everything can run: packages installed, code generated, bundles built. Plain JavaScript without
 * imports outside Node's own, because it is what runs on a bare machine's older Node before anything is installed. Every
 * step first looks whether its work is done, so that with nothing to do it costs a few milliseconds.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Lowest major version of Node that runs the code: isolated-vm's floor. */
const NODE_MAJOR = 24
/** How long to wait for another process that is setting up the same clone, milliseconds. */
const LOCK_WAIT_MS = 10 * 60_000
const LOCK_POLL_MS = 100

const modules = join(root, 'node_modules')
const cache = join(root, '.cache')

/** The Node binary everything after setup runs on, as a path: a bare `node` would be looked up in PATH and may be the older one. */
export function nodeBinary() {
  const packaged = join(modules, `node-linux-${process.arch}`, 'bin', 'node')
  if (existsSync(packaged)) return packaged
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath
  throw new Error(
    `Cannot find Node ${NODE_MAJOR}: this is Node ${process.versions.node} and there is no packaged binary for ${process.platform}-${process.arch}. Install Node ${NODE_MAJOR} or newer and try again.`,
  )
}

function run(command, args) {
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (done.error) throw new Error(`Cannot run ${command}: ${done.error.message}`)
  if (done.status !== 0)
    throw new Error(`${[command, ...args].join(' ')} failed (${done.status ?? done.signal}); its output is above`)
}

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))
const say = (text) => process.stderr.write(`setup: ${text}\n`)

// ---- packages

/** True when npm's own record of what it installed has every locked package at its locked version (packages for other platforms aside). */
function packagesCurrent() {
  const record = join(modules, '.package-lock.json')
  if (!existsSync(record)) return false
  const installed = readJson(record).packages
  const locked = readJson(join(root, 'package-lock.json')).packages
  return Object.entries(locked).every(([path, want]) => {
    if (!path.startsWith('node_modules/') || want.link) return true
    const have = installed[path]
    return have ? have.version === want.version && have.integrity === want.integrity : want.optional === true
  })
}

function installPackages() {
  say('installing packages (npm ci)')
  // No package's install script is needed: native parts come as prebuilt binaries, so none is run.
  run('npm', ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund'])
}

/** `npx manyhands` looks for the command here; npm links only what packages bring, not the clone's own. */
function linkCommand() {
  const link = join(modules, '.bin', 'manyhands')
  rmSync(link, { force: true })
  symlinkSync(join('..', '..', 'bin', 'manyhands.mjs'), link)
}
const commandLinked = () =>
  !existsSync(join(root, 'bin', 'manyhands.mjs')) || existsSync(join(modules, '.bin', 'manyhands'))

// ---- generated code and bundles: stale when the fingerprint of the inputs differs from the one stored at the last success

/** Files below `path` (or the file itself), sorted, without tests and what is generated. */
function inputs(path) {
  const full = join(root, path)
  if (!existsSync(full)) return []
  if (statSync(full).isFile()) return [path]
  return readdirSync(full, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) =>
      entry.name === 'node_modules' || entry.name === 'dist' || entry.name.endsWith('.test.ts')
        ? []
        : inputs(join(path, entry.name)),
    )
}

function fingerprint(paths) {
  const hash = createHash('sha256')
  for (const path of paths.flatMap(inputs))
    hash.update(
      `${path}\0${createHash('sha256')
        .update(readFileSync(join(root, path)))
        .digest('hex')}\n`,
    )
  return hash.digest('hex')
}

const stampPath = (name) => join(cache, `${name}.stamp`)

const PROTO_ARGS = [
  '-t',
  'static-module',
  '-w',
  'esm',
  '--dts',
  '--no-service',
  '--no-verify',
  '--no-convert',
  '--force-number',
  '-r',
  'manyhands_v1',
]

/** Writes wire.js and wire.d.ts from proto/*.proto into the folder `into`. */
export function generateProto(into) {
  const sources = readdirSync(join(root, 'proto'))
    .filter((name) => name.endsWith('.proto'))
    .sort()
    .map((name) => join('proto', name))
  run(nodeBinary(), [
    join(modules, 'protobufjs-cli', 'bin', 'pbjs'),
    ...PROTO_ARGS,
    '-o',
    join(into, 'wire.js'),
    ...sources,
  ])
  useNumbers(join(into, 'wire.js'))
}

/**
 * `--force-number` makes the types say that 64-bit fields are numbers; that they are is decided at run time by whether protobufjs finds the package "long",
 * which its own dependencies bring. All our 64-bit fields stay below 2^53.
 */
function useNumbers(path) {
  const anchor = 'import $protobuf from "protobufjs/minimal.js";\n'
  const code = readFileSync(path, 'utf8')
  if (!code.includes(anchor))
    throw new Error(`${path} does not import protobufjs as expected: see useNumbers in scripts/setup.mjs`)
  writeFileSync(path, code.replace(anchor, `${anchor}$protobuf.util.Long = undefined; $protobuf.configure();\n`))
}

/** Through a folder of its own and a rename, so that a reader never sees half a file. */
function replaceProto() {
  mkdirSync(join(root, 'proto', 'gen'), { recursive: true })
  const fresh = mkdtempSync(join(cache, 'proto-'))
  try {
    generateProto(fresh)
    for (const name of ['wire.d.ts', 'wire.js']) renameSync(join(fresh, name), join(root, 'proto', 'gen', name))
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

/**
 * @typedef {object} Product
 * @property {string} name
 * @property {string[]} from inputs, relative paths of files and folders
 * @property {string[]} to outputs that must exist
 * @property {() => void} make
 */

const script = (path) => ({ make: () => run(nodeBinary(), [join(root, path)]) })

/** In order: each may use the ones before. @type {Product[]} */
const products = [
  {
    name: 'proto',
    from: ['proto', 'package-lock.json', 'scripts/setup.mjs'],
    to: ['proto/gen/wire.js', 'proto/gen/wire.d.ts'],
    make: replaceProto,
  },
  {
    name: 'guest',
    from: ['scripts/build-guest.ts', 'daemon/exec/isolate/guest', 'protocol/limits.ts', 'package-lock.json'],
    to: ['daemon/exec/isolate/guest/gen/sources.js', 'daemon/exec/isolate/guest/gen/sources.d.ts'],
    ...script('scripts/build-guest.ts'),
  },
  {
    name: 'sdk',
    from: ['scripts/build-sdk.ts', 'sdk', 'protocol', 'package-lock.json'],
    to: ['sdk/dist'],
    ...script('scripts/build-sdk.ts'),
  },
  {
    name: 'bundles',
    from: [
      'scripts/build.ts',
      'daemon',
      'daemon/main.ts',
      'daemon/cli/main.ts',
      'protocol',
      'proto',
      'sdk/src',
      'package.json',
      'package-lock.json',
    ],
    to: [
      'dist/cli.js',
      'dist/daemon.js',
      'dist/isolate-host.js',
      'dist/egress-proxy.js',
      'dist/egress-listen-inside.js',
    ],
    ...script('scripts/build.ts'),
  },
]

/** Whoever runs from part of the sources gets what these give. */
const present = (product) => product.from.every((path) => existsSync(join(root, path)))

/** The fingerprint leaves out what the product itself writes next to its inputs: generated folders are named `gen`. */
const productPrint = (product) =>
  fingerprint(product.from.flatMap(inputs).filter((path) => !path.split('/').includes('gen')))

function productCurrent(product) {
  if (!product.to.every((path) => existsSync(join(root, path)))) return false
  const stamp = stampPath(product.name)
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === productPrint(product)
}

function makeProduct(product) {
  say(`making ${product.name}`)
  const print = productPrint(product)
  product.make()
  writeFileSync(stampPath(product.name), print)
}

// ---- one at a time

const alive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

function withLock(work) {
  mkdirSync(cache, { recursive: true })
  const lock = join(cache, 'setup.lock')
  for (let waited = 0; ; waited += LOCK_POLL_MS) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      const holder = Number(existsSync(lock) ? readFileSync(lock, 'utf8') : 0)
      if (holder > 0 && !alive(holder)) rmSync(lock, { force: true })
      else if (waited >= LOCK_WAIT_MS)
        throw new Error(
          `Cannot set up: process ${holder} has been at it for ${LOCK_WAIT_MS / 60_000} minutes. If it is stuck, end it and remove ${lock}.`,
        )
      else sleep(LOCK_POLL_MS)
    }
  }
  try {
    work()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** @param {{ force?: boolean, only?: string[] }} [options] `force` makes products even when they are current; `only` names the products wanted (default: all) */
export function setup(options = {}) {
  const wanted = products.filter(
    (product) => present(product) && (!options.only || options.only.includes(product.name)),
  )
  if (!options.force && packagesCurrent() && commandLinked() && wanted.every(productCurrent)) return
  withLock(() => {
    // Looked at again: whoever held the lock before may have done it all.
    if (!packagesCurrent()) installPackages()
    if (!commandLinked()) linkCommand()
    for (const product of wanted) if (options.force || !productCurrent(product)) makeProduct(product)
  })
}
