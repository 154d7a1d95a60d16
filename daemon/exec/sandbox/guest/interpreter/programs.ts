/**
 * The small programs that keep an interpreter's state inside a sandbox. Each reads requests from its standard input and runs them one after another:
 *
 *     first line   the mark: 32 hexadecimal characters, unknown to the code that runs later
 *     request      a line with a number of bytes, then as many bytes of code
 *
 * What the code prints goes where it always goes. After each request comes, on both outputs, a zero byte and the mark; on standard output then a line
 * with a number of bytes and as many bytes of JSON: {"results": [{"type", "data", "base64"?}], "error"?: {"name", "message", "trace"}, "code"?}.
 * The shell takes its requests as commands instead (see `shellRequest`).
 */

export const PYTHON = String.raw`
import ast, asyncio, base64, inspect, json, linecache, os, sys, traceback
_in = os.fdopen(os.dup(0), 'rb')
_null = os.open(os.devnull, os.O_RDONLY)
os.dup2(_null, 0)
os.close(_null)
_out = os.fdopen(os.dup(1), 'wb')
_err = os.fdopen(os.dup(2), 'wb')
_mark = b'\0' + _in.readline().strip()
os.environ.setdefault('MPLBACKEND', 'Agg')
sys.path.insert(0, '')
sys.argv = ['']
_space = {'__name__': '__main__', '__builtins__': __builtins__}
_results = []
_loop = None
_count = 0

def _add(kind, data, binary=False):
    if data is None: return
    if isinstance(data, (bytes, bytearray)): data, binary = base64.b64encode(bytes(data)).decode(), True
    elif isinstance(data, (dict, list)): data = json.dumps(data)
    _results.append({'type': kind, 'data': str(data), 'base64': binary} if binary else {'type': kind, 'data': str(data)})

def display(value):
    for kind, name in (('text/html', '_repr_html_'), ('image/svg+xml', '_repr_svg_'), ('text/markdown', '_repr_markdown_')):
        method = getattr(type(value), name, None)
        if method is not None: _add(kind, method(value))
    for kind, name in (('image/png', '_repr_png_'), ('image/jpeg', '_repr_jpeg_')):
        method = getattr(type(value), name, None)
        if method is not None:
            data = method(value)
            if isinstance(data, str): _results.append({'type': kind, 'data': data, 'base64': True})
            else: _add(kind, data)
    if isinstance(value, (dict, list, tuple)):
        try: _add('application/json', json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError): pass
    if isinstance(value, (bytes, bytearray)) and bytes(value[:8]) == b'\x89PNG\r\n\x1a\n': _add('image/png', value)
    else: _add('text/plain', repr(value))
_space['display'] = display

def _figures():
    plt = sys.modules.get('matplotlib.pyplot')
    if plt is None: return
    import io
    for number in plt.get_fignums():
        into = io.BytesIO()
        plt.figure(number).savefig(into, format='png')
        _add('image/png', into.getvalue())
    plt.close('all')

def _eval(code):
    global _loop
    if not code.co_flags & inspect.CO_COROUTINE: return eval(code, _space)
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop.run_until_complete(eval(code, _space))

def _run(source):
    global _count
    _count += 1
    name = '<cell %d>' % _count
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    _eval(compile(tree, name, 'exec', flags))
    if last is not None:
        value = _eval(compile(ast.Expression(last.value), name, 'eval', flags))
        if value is not None:
            _space['_'] = value
            display(value)
    _figures()

while True:
    _line = _in.readline()
    if not _line: break
    _source = _in.read(int(_line)).decode('utf-8', 'replace')
    _results.clear()
    _answer = {}
    try:
        _run(_source)
    except SystemExit as _e:
        _answer['error'] = {'name': 'SystemExit', 'message': str(_e.code), 'trace': ''}
    except BaseException as _e:
        _tb = _e.__traceback__
        while _tb is not None and not _tb.tb_frame.f_code.co_filename.startswith('<cell'): _tb = _tb.tb_next
        _answer['error'] = {'name': type(_e).__name__, 'message': str(_e), 'trace': ''.join(traceback.format_exception(type(_e), _e, _tb))}
    _answer['results'] = _results
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException: pass
    _bytes = json.dumps(_answer).encode()
    _err.write(_mark)
    _err.flush()
    _out.write(_mark + b'%d\n' % len(_bytes) + _bytes)
    _out.flush()
`

/** The inspector's own evaluation, as its consoles use it: `await` at the top, and a `const` may be declared anew. */
export const NODE = String.raw`
const { inspect } = require('node:util')
const { Session } = require('node:inspector')
const fs = require('node:fs')
const session = new Session()
session.connect()
globalThis.require = require
let have = Buffer.alloc(0), mark, need = -1, busy = false, results = [], settle
const add = (type, data) => results.push(data instanceof Uint8Array ? { type, data: Buffer.from(data).toString('base64'), base64: true } : { type, data: String(data) })
const isPng = (value) => value instanceof Uint8Array && Buffer.from(value.subarray(0, 8)).toString('latin1') === '\x89PNG\r\n\x1a\n'
const isPlain = (value) => value !== null && typeof value === 'object' && (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype)
globalThis.display = (value) => {
  if (isPng(value)) return void add('image/png', value)
  if (isPlain(value)) try { add('application/json', JSON.stringify(value)) } catch {}
  add('text/plain', typeof value === 'string' ? value : inspect(value))
}
function writeAll(fd, bytes) {
  for (let at = 0; at < bytes.length;) {
    try { at += fs.writeSync(fd, bytes, at) } catch (error) { if (error.code !== 'EAGAIN') throw error }
  }
}
function answer(failed, error) {
  if (settle === undefined) return
  settle = undefined
  const body = { results }
  if (failed) {
    const known = error !== null && typeof error === 'object' && 'message' in error
    body.error = { name: known ? String(error.name) : 'Error', message: known ? String(error.message) : inspect(error), trace: known ? String(error.stack).split('\n    at Session.post (node:inspector')[0] : '' }
  }
  const bytes = Buffer.from(JSON.stringify(body))
  writeAll(2, mark)
  writeAll(1, Buffer.concat([mark, Buffer.from(bytes.length + '\n'), bytes]))
  results = []
  busy = false
  next()
}
const stray = (error) => settle ? answer(true, error) : writeAll(2, Buffer.from(inspect(error) + '\n'))
process.on('uncaughtException', stray)
process.on('unhandledRejection', stray)
process.on('SIGINT', () => settle && answer(true, new Error('interrupted')))
/* The value itself, not its description: handed over inside this process. */
function valueOf(remote, then) {
  if (remote.objectId === undefined) {
    const text = remote.unserializableValue
    if (text === undefined) return then(remote.value)
    return then(text.endsWith('n') ? BigInt(text.slice(0, -1)) : Number(text))
  }
  globalThis.__handOver = then
  session.post('Runtime.callFunctionOn', { objectId: remote.objectId, functionDeclaration: 'function () { const then = globalThis.__handOver; delete globalThis.__handOver; then(this) }' })
  session.post('Runtime.releaseObject', { objectId: remote.objectId })
}
function run(code) {
  const mine = settle = {}
  const current = (work) => (...args) => { if (settle === mine) work(...args) }
  session.post('Runtime.evaluate', { expression: code, replMode: true, awaitPromise: true }, current((failed, got) => {
    if (failed) return answer(true, new Error(failed.message))
    if (got.exceptionDetails) return valueOf(got.exceptionDetails.exception, current((error) => answer(true, error)))
    valueOf(got.result, current((value) => {
      try {
        if (value !== undefined) display(value)
      } catch (error) { return answer(true, error) }
      answer(false)
    }))
  }))
}
function line() {
  const at = have.indexOf(10)
  if (at < 0) return undefined
  const text = have.toString('utf8', 0, at).trim()
  have = have.subarray(at + 1)
  return text
}
function next() {
  while (!busy) {
    if (mark === undefined || need < 0) {
      const first = line()
      if (first === undefined) return
      if (mark === undefined) mark = Buffer.from('\0' + first)
      else need = Number(first)
    } else {
      if (have.length < need) return
      const code = have.toString('utf8', 0, need)
      have = have.subarray(need)
      need = -1
      busy = true
      run(code)
    }
  }
}
process.stdin.on('data', (bytes) => { have = Buffer.concat([have, bytes]); next() })
process.stdin.on('end', () => process.exit(0))
`

/** Bash where there is one: its arrays and tests are what people know. */
export const SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi'

/** A request to the shell: its own commands, so that state, folder and functions are the shell's. */
export function shellRequest(code: string, mark: string): string {
  const quoted = `'${code.replaceAll("'", `'\\''`)}'`
  // "command": a mistake in the code must not end the shell. Lengths: {"results":[],"code":N} with one to three digits
  return (
    `{ command eval ${quoted}; } </dev/null; __mh=$?; printf '\\000%s' ${mark} >&2; ` +
    `printf '\\000%s%s\\n{"results":[],"code":%s}' ${mark} $((22 + \${#__mh})) "$__mh"\n`
  )
}
