/** What to do about the mistakes that people and models make most when they write programs for an isolate. Pure. */
import type { ErrorCode } from '../../../../protocol/errors.ts'

export interface Mistake {
  readonly code: ErrorCode
  readonly name: string | undefined
  readonly message: string
  /** Guest module in which it happened */
  readonly file: string | undefined
  /** Source line at which it happened */
  readonly line: string
}

type Rule = readonly [
  code: ErrorCode,
  message: RegExp,
  hint: string | ((found: RegExpExecArray, mistake: Mistake) => string | undefined),
]

const SHAPE = 'export default async function (input, env) { ... }'
const MODULES_ONLY = 'Programs are ES modules: write import at the top; npm packages are bundled on the calling side'

/** Names that exist in other environments and not here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  require: MODULES_ONLY,
  module: `Programs are ES modules: write ${SHAPE} instead of module.exports`,
  exports: `Programs are ES modules: write ${SHAPE} instead of exports`,
  __dirname: 'There are no files here: import a .txt or .json module of the program, or pass data as input',
  __filename: 'There are no files here: import a .txt or .json module of the program, or pass data as input',
  fs: 'There are no files here: import a .txt or .json module of the program, or pass data as input',
  path: 'Node modules do not exist here; URL and string methods do',
  process: 'There is no process here: pass settings as input; performance.now() and console are there',
  Buffer: 'Use Uint8Array with TextEncoder and TextDecoder; btoa and atob for base64',
  global: 'The global object is called globalThis',
  self: 'The global object is called globalThis',
  window: 'There is no page here; web globals (URL, TextEncoder, crypto, ...) are on globalThis',
  document: 'There is no page here: parse markup with a library bundled into the program',
  navigator: 'There is no browser here; pass what you need as input',
  localStorage: 'Nothing is kept between runs: return what should be kept',
  sessionStorage: 'Nothing is kept between runs: return what should be kept',
  XMLHttpRequest:
    'The network is closed here: fetch on the calling side, or offer a host function and call it as env.<name>()',
  WebSocket:
    'The network is closed here: connect on the calling side, or offer a host function and call it as env.<name>()',
  axios: 'The network is closed here: fetch on the calling side, or offer a host function and call it as env.<name>()',
  setImmediate: 'Use setTimeout(callback, 0) or queueMicrotask(callback)',
  alert: 'Use console.log, or return the value',
  prompt: 'Nobody can be asked here: pass values as input',
  Worker: 'There are no threads here: call map with many inputs, and they run on many cores and nodes',
  WebAssembly: 'WebAssembly is switched off here',
  SharedArrayBuffer: 'Shared memory is switched off here',
  Atomics: 'Shared memory is switched off here',
  input: `input is the first parameter of the default export: ${SHAPE}`,
  env: `env is the second parameter of the default export: ${SHAPE}`,
}

const TYPES =
  /^\s*(?:export\s+)?(?:interface|type|enum|declare|namespace|abstract)\s+\w|[\w)\]?]\s*:\s*(?:string|number|boolean|any|unknown|void|never|null|Record<|Array<|Promise<|Map<|Set<|[A-Z]\w*\b|\{)|\bas\s+(?:const|string|number|any|unknown|[A-Z])|\w<(?:string|number|any|unknown|[A-Z]\w*)[,>]|\w!\.|\bimport\s+type\b/
const JAVASCRIPT = /\.m?js$/

const RULES: readonly Rule[] = [
  [
    'E_SYNTAX',
    /./,
    (_, { file, line }) =>
      file !== undefined && JAVASCRIPT.test(file) && TYPES.test(line)
        ? 'This looks like TypeScript: give the module a name that ends in .ts, and its types are stripped'
        : undefined,
  ],
  ['E_SYNTAX', /Illegal return/, `The value is returned from the default export: ${SHAPE}`],
  ['E_SYNTAX', /await is only valid|Unexpected reserved word/, 'Mark the function that holds the await as async'],
  ['E_SYNTAX', /Unexpected end of input/, 'A bracket, brace or parenthesis is not closed'],
  ['E_SYNTAX', /has already been declared/, 'Rename one of the two, or declare it once'],
  ['E_SYNTAX', /Unexpected token '<'/, 'There is no JSX here: compile it on the calling side'],
  [
    'E_IMPORT',
    /default: it has none/,
    (_, { line }) =>
      /module\.exports|exports\./.test(line)
        ? `Write ${SHAPE} instead of module.exports`
        : `Write ${SHAPE} in the main module`,
  ],
  ['E_IMPORT', /default: it is/, `Export the function itself: ${SHAPE}`],
  ['E_IMPORT', /does not provide an export named/, 'Check the spelling; if it is a type, import it with "import type"'],
  [
    'E_IMPORT',
    /"(?:node:)?(?:assert|async_hooks|buffer|child_process|cluster|crypto|dns|events|fs|fs\/promises|http|https|module|net|os|path|process|readline|stream|timers|tls|url|util|vm|worker_threads|zlib)"/,
    (found) =>
      `Node modules do not exist here (${found[0]}): use web globals such as URL, crypto, TextEncoder and streams`,
  ],
  ['E_IMPORT', /"https?:/, 'Modules are not fetched: bundle them into the program on the calling side'],
  [
    'E_IMPORT',
    /imports "\.{1,2}\//,
    'Add the module to the program; a relative name starts at the importing module and keeps its ending',
  ],
  [
    'E_IMPORT',
    /imports "/,
    'npm packages are bundled on the calling side: run the program from a file, or bundle it with esbuild first',
  ],
  ['E_GUEST', /^Not supported$/, 'import() does not exist here: import at the top of the module'],
  [
    'E_GUEST',
    /^([\w$]+) is not defined/,
    ([, name = '']) => (Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined),
  ],
  [
    'E_GUEST',
    /\benv\.(\w+) is not a function/,
    ([, name]) => `The caller offered no host function "${name}": pass it in the call's functions`,
  ],
  [
    'E_GUEST',
    /\.(?:map|filter|forEach|reduce|find|some|every|then|json|text|join|slice|split|push|trim|toFixed|toString|length) is not a function/,
    'The value has another type than expected; if it comes from an async function, put await before it',
  ],
  [
    'E_GUEST',
    /is not a function or its return value is not iterable|is not iterable/,
    'The value is not a list; if it comes from an async function, put await before it',
  ],
  [
    'E_GUEST',
    /is not a function/,
    'Check the spelling and that it is exported; if it comes from an async function, put await before it',
  ],
  [
    'E_GUEST',
    /Cannot read properties of (?:undefined|null)/,
    'Something before the dot is missing: check the shape of input, and put await before async calls',
  ],
  ['E_GUEST', /"\[object Object\]" is not valid JSON/, 'It is an object already: input arrives parsed'],
  ['E_GUEST', /Maximum call stack/, 'A function calls itself without end, or a structure is too deep for recursion'],
  ['E_GUEST', /BigInt/, 'Convert with Number(value) or String(value) before mixing or returning'],
  ['E_RESULT', /a function/, 'Return data; did you mean to call the function?'],
  ['E_RESULT', /BigInt/, 'Convert with Number(value) or String(value) before returning'],
  ['E_RESULT', /circular/i, 'Return a copy without the reference that leads back'],
  ['E_RESULT', /a Map/, 'Return Object.fromEntries(map) or [...map]'],
  ['E_RESULT', /a Set/, 'Return [...set]'],
  ['E_RESULT', /a Response/, 'Return the data: await response.json() or await response.text()'],
  ['E_RESULT', /a Promise/, 'Put await before the call'],
  ['E_RESULT', /nested deeper|call stack/, 'Return a flatter structure'],
  ['E_RESULT', /a symbol/, 'Return a string: symbol.description'],
  ['E_RESULT', /./, 'Return plain data: objects, lists, strings, numbers, booleans and null'],
]

/** One sentence, or `undefined` when nothing certain can be said. */
export function hintFor(mistake: Mistake): string | undefined {
  for (const [code, pattern, hint] of RULES) {
    if (code !== mistake.code) continue
    const found = pattern.exec(mistake.message)
    if (found === null) continue
    const text = typeof hint === 'string' ? hint : hint(found, mistake)
    if (text !== undefined) return text
  }
  return undefined
}
