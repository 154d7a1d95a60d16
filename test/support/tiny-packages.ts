/** A package named "small" as registries serve it: npm, a Python index, a repository of Debian packages; each just enough for its client. */
import { createHash } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { crc32, gzipSync } from 'node:zlib'

type Files = Readonly<Record<string, string>>

const answer =
  (bodies: (path: string, host: string) => string | Buffer | undefined): RequestListener =>
  (request, response) => {
    const body = bodies(request.url ?? '/', request.headers.host ?? '')
    if (body === undefined) response.writeHead(404).end()
    else {
      const type = typeof body === 'string' && body.startsWith('<') ? 'text/html' : 'application/octet-stream'
      response.writeHead(200, { 'content-length': Buffer.byteLength(body), 'content-type': type }).end(body)
    }
  }

/** `npm install small` gives a module that exports the number 42. */
export function npmRegistry(scheme: 'http' | 'https'): RequestListener {
  const manifest = { name: 'small', version: '1.0.0', type: 'module', exports: './index.js' }
  const tarball = gzipSync(
    tarOf({ 'package/package.json': JSON.stringify(manifest), 'package/index.js': 'export default 42\n' }),
  )
  return answer((path, host) => {
    if (path === '/small-1.0.0.tgz') return tarball
    if (path !== '/small') return undefined
    const dist = { tarball: `${scheme}://${host}/small-1.0.0.tgz` }
    return JSON.stringify({
      name: 'small',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { ...manifest, dist } },
    })
  })
}

/** `pip install small` gives a module with `answer = 42`. */
export function pipIndex(): RequestListener {
  const about = 'small-1.0.dist-info'
  const wheel = zipOf({
    'small.py': 'answer = 42\n',
    [`${about}/METADATA`]: 'Metadata-Version: 2.1\nName: small\nVersion: 1.0\n',
    [`${about}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${about}/RECORD`]: `small.py,,\n${about}/METADATA,,\n${about}/WHEEL,,\n${about}/RECORD,,\n`,
  })
  const file = 'small-1.0-py3-none-any.whl'
  return answer((path) => {
    if (path === `/${file}`) return wheel
    return path === '/simple/small/' ? `<!DOCTYPE html><a href="/${file}">${file}</a>` : undefined
  })
}

/** `deb [trusted=yes] http://host/ ./`: `apt-get install small` puts `answer` into /opt/small. */
export function aptRepository(): RequestListener {
  const about = ['Package: small', 'Version: 1.0', 'Architecture: all', 'Maintainer: t <t@t>', 'Description: small']
  const deb = arOf({
    'debian-binary': Buffer.from('2.0\n'),
    'control.tar.gz': gzipSync(tarOf({ './control': `${about.join('\n')}\n` })),
    'data.tar.gz': gzipSync(tarOf({ './opt/small': 'answer\n' }, ['./opt/'])),
  })
  const sha256 = createHash('sha256').update(deb).digest('hex')
  const packages = [...about, 'Filename: ./small.deb', `Size: ${deb.length}`, `SHA256: ${sha256}`, '']
  return answer((path) => {
    if (path.endsWith('/small.deb')) return deb
    return path.endsWith('/Packages') ? packages.join('\n') : undefined
  })
}

/** ustar. */
function tarOf(files: Files, folders: readonly string[] = []): Buffer {
  const parts: Buffer[] = folders.map((name) => tarHeader(name, 0, '5'))
  for (const [name, content] of Object.entries(files)) {
    const body = Buffer.alloc(Math.ceil(Buffer.byteLength(content) / 512) * 512)
    body.write(content)
    parts.push(tarHeader(name, Buffer.byteLength(content), '0'), body)
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

function tarHeader(name: string, bytes: number, kind: '0' | '5'): Buffer {
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write(kind === '5' ? '0000755\0' : '0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${bytes.toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        ', 148)
  header.write(kind, 156)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** As the tools of Debian write it: each entry padded to an even length. */
function arOf(entries: Readonly<Record<string, Buffer>>): Buffer {
  const parts: Buffer[] = [Buffer.from('!<arch>\n')]
  for (const [name, content] of Object.entries(entries)) {
    const fields = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8)]
    parts.push(Buffer.from(`${fields.join('')}${String(content.length).padEnd(10)}\`\n`), content)
    if (content.length % 2 === 1) parts.push(Buffer.from('\n'))
  }
  return Buffer.concat(parts)
}

/** Nothing in it is compressed. */
function zipOf(files: Files): Buffer {
  const locals: Buffer[] = []
  const central: Buffer[] = []
  let at = 0
  for (const [name, text] of Object.entries(files)) {
    const content = Buffer.from(text)
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(0x21, 8)
    common.writeUInt32LE(crc32(content), 10)
    common.writeUInt32LE(content.length, 14)
    common.writeUInt32LE(content.length, 18)
    common.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), content])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(at, 10)
    central.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), common, tail, Buffer.from(name)]))
    locals.push(local)
    at += local.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(central.length, 4)
  end.writeUInt16LE(central.length, 6)
  end.writeUInt32LE(directory.length, 8)
  end.writeUInt32LE(at, 12)
  return Buffer.concat([...locals, directory, Buffer.from('PK\x05\x06'), end])
}
