#!/usr/bin/env node
// Starts the CLI under a Node that can run the daemon (24 or newer): this one if it will do, else the one that came with the package.
// Written for any Node from 18 on, without dependencies.
import * as nodeModule from 'node:module'

// An import of one of Node's modules reads all it exports, which takes longer; what only another Node needs is loaded for that
const require = nodeModule.createRequire(import.meta.url)
const { existsSync, lstatSync, mkdirSync, realpathSync } = require('node:fs')
const { constants, homedir, userInfo } = require('node:os')
const { dirname, join } = require('node:path')
const { fileURLToPath, pathToFileURL } = require('node:url')

const WANTED = 24
const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))))

if (Number(process.versions.node.split('.')[0]) >= WANTED) {
  const cache = privateCache()
  if (cache !== undefined) nodeModule.enableCompileCache(cache)
  const entry = findEntry()
  requirePackages(entry)
  const { main } = await import(pathToFileURL(entry).href)
  process.exitCode = await main(process.argv.slice(2))
} else {
  run(findNode())
}

/** The bundle where there is one: in a clone, `npm run build` and every other npm command renew it. */
function findEntry() {
  const built = join(root, 'dist', 'cli.js')
  return existsSync(built) ? built : join(root, 'daemon', 'cli', 'main.ts')
}

/** The bundle is there with its packages or not at all; the source of a fresh clone is there without them. */
function requirePackages(entry) {
  if (entry.endsWith('.ts') && !existsSync(join(root, 'node_modules', 'commander'))) refuseClone()
}

function refuseClone() {
  console.error('error: this clone is not set up yet: its packages are not installed')
  console.error(`hint: in ${root}, run: npm run setup`)
  process.exit(78)
}

/** A folder that only this user can write, whatever the umask: code that others put there would be run. Without one nothing is kept. */
function privateCache() {
  try {
    const folder = join(cacheFolder(), 'compile')
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, mode } = lstatSync(folder)
    return uid === process.geteuid() && (mode & 0o022) === 0 ? folder : undefined
  } catch {
    return undefined
  }
}

function cacheFolder() {
  const { MANYHANDS_HOME, XDG_CACHE_HOME } = process.env
  if (MANYHANDS_HOME) return join(MANYHANDS_HOME, 'cache')
  return join(XDG_CACHE_HOME?.startsWith('/') ? XDG_CACHE_HOME : join(userHome(), '.cache'), 'manyhands')
}

/** As daemon/config/user-paths.ts has it; throws where the user has no entry. */
function userHome() {
  const named = homedir()
  return named.startsWith('/') ? named : userInfo().homedir
}

function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= WANTED) return process.execPath
  const name = `node-${process.platform}-${process.arch}`
  try {
    const manifest = nodeModule.createRequire(join(root, 'package.json')).resolve(`${name}/package.json`)
    const binary = join(dirname(manifest), 'bin', 'node')
    if (existsSync(binary)) return binary
  } catch {
    // Said below
  }
  // A package has no sources
  if (existsSync(join(root, 'daemon')) && !existsSync(join(root, 'node_modules'))) refuseClone()
  console.error(
    `error: manyhands needs Node ${WANTED} or newer; this is ${process.versions.node} and the package ${name} is not installed`,
  )
  console.error(`hint: install Node ${WANTED}, or reinstall with optional dependencies`)
  process.exit(78)
}

/** This file again under the right Node: same arguments, same terminal; ends as the child ends. */
function run(node) {
  const { spawn } = require('node:child_process')
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  // A terminal sends Ctrl-C to both; what is sent to this process alone is passed on
  const passed = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']
  for (const signal of passed) process.on(signal, () => child.kill(signal))
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT')
  })
  child.on('error', (error) => {
    console.error(`error: cannot start ${node}: ${error.message}`)
    process.exit(70)
  })
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.exit(128 + (constants.signals[signal] ?? 0))
  })
}
