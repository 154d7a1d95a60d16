/** Hostile requests at the Git door: rows GIT-01, 02, 03, 10, 15, 16 and 18 of the threat model. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DoorKit, type KitOptions, openDoor } from '../support/git-door.ts'
import {
  blob,
  commitOf,
  fetchV2,
  knock,
  line,
  pack,
  push,
  pushBody,
  pushObjects,
  tree,
  upload,
} from '../support/git-pack.ts'

let kit: DoorKit
const opened = async (options: KitOptions): Promise<DoorKit> => {
  await kit.close()
  kit = await openDoor(options)
  await kit.create('notes')
  return kit
}
const refs = (name = 'notes'): ReadonlyMap<string, string> => kit.store.refs(kit.store.require(name).id)
const quarantines = (): string[] => readdirSync(join(kit.folder, 'artifacts', 'staging'))
const info = (name: string): string => `/git/${name}.git/info/refs?service=git-upload-pack`

beforeEach(async () => {
  kit = await openDoor()
  await kit.create('notes')
})
afterEach(async () => {
  expect(kit.faults).toEqual([])
  await kit.close()
})

describe('GIT-01 path traversal', () => {
  it('finds artifacts by id and name and nothing else', async () => {
    expect((await knock(kit, { path: info('notes') })).status).toBe(200)
    const names = [
      '../notes',
      'a/../../b',
      '%2e%2e',
      '..%5cnotes',
      '..',
      '.',
      '%00',
      'notes%00',
      '/etc',
      '//notes',
      'n'.repeat(300),
      '.git/hooks',
      'notes.git/hooks',
    ]
    const twins = ['NOTES', 'Notes', 'n%D0%BEtes', 'notes%CC%81', 'notes%20', 'notes.']
    for (const name of [...names, ...twins]) {
      const { status, text } = await knock(kit, { path: info(name) })
      expect([name, status]).toEqual([name, 404])
      expect(text).not.toContain(kit.folder)
    }
    for (const path of [
      '/git/notes.git/../notes.git/info/refs?service=git-upload-pack',
      '/git/notes.git/info/../config',
      '/git/notes.git/./info/refs',
    ])
      expect((await knock(kit, { path })).status).toBe(404)
  })
})

describe('GIT-02 option injection', () => {
  it('takes no name for an option, in the URL, in refs or in a request', async () => {
    const file = join(kit.folder, 'planted')
    for (const name of [
      '--upload-pack=touch',
      '-x',
      '--exec=x',
      `--output=${file}`,
      'ext::sh%20-c%20id',
      'file:///etc',
    ])
      expect((await knock(kit, { path: info(name) })).status).toBe(404)
    const root = tree(['100644', 'a', blob('a')])
    const tip = commitOf(root)
    const hostile = [
      'refs/heads/-x',
      'refs/heads/--exec=id',
      'refs/heads/$(id)',
      'refs/heads/a;id',
      'refs/heads/__proto__/x',
      'refs/heads/a\u202eb',
      'refs/heads/../../x',
      'refs/heads/a.lock',
      'HEAD',
      '--all',
      'refs/heads/',
      'refs/manyhands/records/x',
      `refs/heads/${'a'.repeat(400)}`,
    ]
    const commands = hostile.map((ref) => ({ ref, new: tip.oid }))
    const answer = await push(kit, 'notes', pushBody(commands, pack(blob('a'), root, tip)))
    expect(answer.text.match(/ng /g)).toHaveLength(hostile.length)
    expect(refs().size).toBe(0)
    const asked = [
      ['want --output=x'],
      [`want ${tip.oid}`, 'deepen-not --all'],
      [`want ${tip.oid}`, 'filter sparse:path=/etc/passwd'],
      [`want ${tip.oid}`, '--upload-pack=id'],
    ]
    for (const args of asked)
      expect((await fetchV2(kit, 'notes', ...args, 'done')).text).toMatch(/^[0-9a-f]{4}ERR Cannot serve the fetch/)
    expect(existsSync(file)).toBe(false)
  })
})

describe('GIT-03 big push', () => {
  it('refuses what is announced or turns out larger than the quota, and keeps nothing', async () => {
    await opened({ quotas: { artifactBytes: 2 << 20 } })
    const big = blob(randomBytes(5 << 20))
    const root = tree(['100644', 'big', big])
    const tip = commitOf(root)
    const body = pushBody(
      [{ ref: 'refs/heads/main', new: tip.oid }],
      pack(big, root, tip),
      'report-status side-band-64k',
    )
    expect(await push(kit, 'notes', body, { 'content-length': String(body.length) })).toMatchObject({ status: 413 })
    // Unannounced, but ending: the client is told in its own words
    const told = await push(kit, 'notes', body, { 'transfer-encoding': 'chunked' })
    expect(told.status).toBe(200)
    expect(told.text).toMatch(/Cannot take the push: its pack is larger.*\n.*unpack its pack is larger/s)
    expect(refs().size).toBe(0)
    expect(quarantines()).toEqual([])
  })

  it('cuts an endless body, and one that unpacks to a thousand times its size', async () => {
    await opened({ quotas: { artifactBytes: 2 << 20 } })
    const before = process.memoryUsage.rss()
    const status = await new Promise<number | 'cut'>((resolve, reject) => {
      const headers = { authorization: 'Bearer admin', 'content-type': 'application/x-git-receive-pack-request' }
      const path = '/git/notes.git/git-receive-pack'
      const endless = httpRequest(
        { host: '127.0.0.1', port: kit.port, method: 'POST', path, headers, agent: false },
        (response) => {
          clearInterval(timer)
          resolve(response.statusCode ?? 0)
          endless.destroy()
        },
      )
      const chunk = randomBytes(1 << 20)
      endless.write(pushBody([{ ref: 'refs/heads/main', new: 'a'.repeat(40) }], pack(blob('x')).subarray(0, 12)))
      const timer = setInterval(() => endless.write(chunk), 1)
      endless.once('error', (error: NodeJS.ErrnoException) => {
        clearInterval(timer)
        // a client that goes on writing may find the connection closed before it reads the answer
        if (error.code === 'EPIPE' || error.code === 'ECONNRESET') resolve('cut')
        else reject(error)
      })
    })
    expect([413, 'cut']).toContain(status)
    const bomb = gzipSync(Buffer.alloc(64 << 20), { level: 1 })
    const answer = await upload(kit, 'notes', bomb, 'version=2', { 'content-encoding': 'gzip' })
    expect(answer.text).toMatch(/ERR Cannot take the request: its body is larger/)
    expect((await push(kit, 'notes', bomb, { 'content-encoding': 'gzip' })).status).toBe(400)
    expect(process.memoryUsage.rss() - before).toBeLessThan(512 << 20)
    expect(quarantines()).toEqual([])
  })
})

describe('GIT-10 planted configuration', () => {
  it('never runs hooks or helpers, and follows no alternates', async () => {
    await pushObjects(kit, 'notes', 'refs/heads/main', ...tiny('1'))
    const repository = await kit.store.repository(kit.store.require('notes').id)
    const proof = join(kit.folder, 'ran')
    const script = join(kit.folder, 'evil')
    writeFileSync(script, `#!/bin/sh\ntouch ${proof}\n`)
    chmodSync(script, 0o755)
    const elsewhere = join(kit.folder, 'elsewhere.git')
    execFileSync('git', ['init', '-q', '--bare', elsewhere])
    const plant = (): void => {
      mkdirSync(join(repository, 'hooks'), { recursive: true })
      mkdirSync(join(repository, 'objects', 'info'), { recursive: true })
      for (const hook of ['pre-receive', 'update', 'post-receive', 'reference-transaction', 'post-update'])
        writeFileSync(join(repository, 'hooks', hook), readFileSync(script), { mode: 0o755 })
      writeFileSync(
        join(repository, 'config'),
        `[core]\n\tbare = true\n\tfsmonitor = ${script}\n\tsshCommand = ${script}\n\tpager = ${script}\n\talternateRefsCommand = ${script}\n[uploadpack]\n\tpackObjectsHook = ${script}\n[receive]\n\tprocReceiveRefs = refs\n`,
      )
      writeFileSync(join(repository, 'objects', 'info', 'alternates'), `${elsewhere}/objects\n`)
    }
    plant()
    expect(await kit.git('clone', '-q', kit.url('notes'), join(kit.folder, 'copy'))).toBe('')
    plant()
    expect((await pushObjects(kit, 'notes', 'refs/heads/other', ...tiny('2'))).text).toMatch(/ok refs\/heads\/other/)
    expect(existsSync(proof)).toBe(false)
    expect(readFileSync(join(repository, 'config'), 'utf8')).not.toContain('evil')
    expect(existsSync(join(repository, 'hooks'))).toBe(false)
  })
})

describe('GIT-15 cut push', () => {
  it('moves nothing when the connection ends anywhere in a push', async () => {
    const objects = tiny('cut', randomBytes(20_000))
    const body = pushBody([{ ref: 'refs/heads/main', new: objects[2].oid }], pack(...objects))
    const head = `POST /git/notes.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\ncontent-type: application/x-git-receive-pack-request\r\ncontent-length: ${body.length}\r\n\r\n`
    for (let at = 0; at < body.length; at += 2_000) {
      const socket = connect(kit.port, '127.0.0.1')
      socket.on('error', () => {})
      await new Promise<void>((resolve) =>
        socket.write(Buffer.concat([Buffer.from(head), body.subarray(0, at)]), () => resolve()),
      )
      socket.destroy()
    }
    await settled()
    expect(refs().size).toBe(0)
    expect(quarantines()).toEqual([])
    expect((await push(kit, 'notes', body)).text).toMatch(/ok refs\/heads\/main/)
    const repository = await kit.store.repository(kit.store.require('notes').id)
    await kit.git('-C', repository, 'fsck', '--strict')
  })

  it('moves nothing when Git is killed, and says so', async () => {
    const objects = tiny('killed', randomBytes(200_000))
    const body = pushBody(
      [{ ref: 'refs/heads/main', new: objects[2].oid }],
      pack(...objects),
      'report-status side-band-64k',
    )
    const path = '/git/notes.git/git-receive-pack'
    const headers = { authorization: 'Bearer admin', 'content-type': 'application/x-git-receive-pack-request' }
    const answer = await new Promise<string>((resolve, reject) => {
      const slow = httpRequest(
        { host: '127.0.0.1', port: kit.port, method: 'POST', path, headers, agent: false },
        (response) => {
          let text = ''
          response.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
          response.once('end', () => resolve(text))
        },
      )
      slow.once('error', reject)
      slow.write(body.subarray(0, 100_000))
      const timer = setInterval(() => {
        const children = childrenOf(process.pid)
        if (children.length === 0) return
        clearInterval(timer)
        for (const pid of children) process.kill(pid, 'SIGKILL')
        slow.end(body.subarray(100_000))
      }, 20)
    })
    expect(answer).toMatch(/ng refs\/heads\/main/)
    expect(refs().size).toBe(0)
    expect(quarantines()).toEqual([])
  })
})

describe('GIT-16 read abuse', () => {
  it('gives away what a ref leads to and nothing else', async () => {
    const [oldBlob, oldTree, old] = tiny('old')
    const [freshBlob, freshTree, fresh] = tiny('fresh')
    await pushObjects(kit, 'notes', 'refs/heads/main', oldBlob, oldTree, old)
    await push(
      kit,
      'notes',
      pushBody([{ ref: 'refs/heads/main', old: old.oid, new: fresh.oid }], pack(freshBlob, freshTree, fresh)),
    )
    expect(refs().get('refs/heads/main')).toBe(fresh.oid)
    for (const { oid } of [fresh, freshTree, freshBlob])
      expect((await fetchV2(kit, 'notes', `want ${oid}`, 'done')).text).toContain('PACK')
    for (const { oid } of [old, oldTree, oldBlob, blob('never')]) {
      const refused = /ERR Cannot serve the fetch: no ref leads to object/
      expect((await fetchV2(kit, 'notes', `want ${oid}`, 'done')).text).toMatch(refused)
      const v0 = Buffer.concat([line(`want ${oid} thin-pack\n`), Buffer.from('0000'), line('done\n')])
      expect((await upload(kit, 'notes', v0)).text).toMatch(refused)
      // Nor can a ref be made to name what is not here
      const named = await push(kit, 'notes', pushBody([{ ref: 'refs/heads/x', new: blob('never').oid }], pack()))
      expect(named.text).toMatch(/ng refs\/heads\/x its object is missing/)
    }
    for (const filter of ['sparse:oid=main:x', 'tree:5', 'combine:blob:none+tree:0', 'object:type=blob'])
      expect((await fetchV2(kit, 'notes', `want ${fresh.oid}`, `filter ${filter}`, 'done')).text).toMatch(
        /ERR .*filter .* is not offered/,
      )
  })

  it('frees the turns of clients that stop reading, and refuses what cannot wait', async () => {
    await opened({ limits: { uploads: 2, waiting: 6, waitMs: 20_000, stallMs: 400 } })
    const objects = tiny('big', randomBytes(16 << 20))
    expect((await pushObjects(kit, 'notes', 'refs/heads/main', ...objects)).status).toBe(200)
    const args = [`want ${objects[2].oid}`, 'done'].map((text) => line(`${text}\n`))
    const body = Buffer.concat([
      line('command=fetch\n'),
      line('object-format=sha1\n'),
      Buffer.from('0001'),
      ...args,
      Buffer.from('0000'),
    ])
    const head = `POST /git/notes.git/git-upload-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\ngit-protocol: version=2\r\ncontent-type: application/x-git-upload-pack-request\r\ncontent-length: ${body.length}\r\n\r\n`
    const sockets = Array.from({ length: 6 }, () => {
      const socket = connect(kit.port, '127.0.0.1').pause()
      socket.on('error', () => {})
      socket.write(Buffer.concat([Buffer.from(head), body]))
      return socket
    })
    await until(() => kit.door.load().uploads === 2 && kit.door.load().waiting === 4)
    const crowd = await Promise.all(
      Array.from({ length: 8 }, () => fetchV2(kit, 'notes', `want ${'b'.repeat(40)}`, 'done')),
    )
    expect(crowd.some(({ text }) => text.includes('2 clones and fetches are under way'))).toBe(true)
    expect(await kit.git('clone', '-q', kit.url('notes'), join(kit.folder, 'copy'))).toBe('')
    await until(() => kit.door.load().uploads === 0)
    for (const socket of sockets) socket.destroy()
  })
})

describe('GIT-18 dumb protocol', () => {
  it('serves two services and no file', async () => {
    await pushObjects(kit, 'notes', 'refs/heads/main', ...tiny('1'))
    const files = [
      'config',
      'HEAD',
      'HEAD.lock',
      'packed-refs',
      'objects/info/packs',
      'objects/pack/pack-x.pack',
      'info/refs',
      'description',
      'lfs/aa/x',
      '',
    ]
    for (const file of files) expect((await knock(kit, { path: `/git/notes.git/${file}` })).status).toBe(404)
    for (const service of ['git-../../x', 'git-upload-archive', 'git-receive-pack&x=1', 'upload-pack', ''])
      expect((await knock(kit, { path: `/git/notes.git/info/refs?service=${service}` })).status).toBe(404)
    for (const method of ['POST', 'PUT', 'DELETE'])
      expect((await knock(kit, { method, path: info('notes') })).status).toBe(404)
    expect((await knock(kit, { path: '/git/notes.git/git-upload-pack' })).status).toBe(404)
    const wrong = { method: 'POST', path: '/git/notes.git/git-upload-pack', headers: { 'content-type': 'text/plain' } }
    expect((await knock(kit, wrong)).text).toMatch(/ERR .*x-git-upload-pack-request is wanted/)
  })

  it('survives malformed requests', async () => {
    const bodies = [
      '',
      '0',
      'zzzz',
      '0003',
      'ffff',
      '0006a',
      '00000000',
      line('want x\n').toString(),
      '0001',
      '0002',
      `${line('command=fetch\n').toString()}0001`,
    ]
    for (const body of bodies)
      for (const version of ['version=0', 'version=1', 'version=2'])
        expect([200]).toContain((await upload(kit, 'notes', Buffer.from(body), version)).status)
    for (const body of bodies.slice(1))
      expect([200, 400]).toContain((await push(kit, 'notes', Buffer.from(body))).status)
    const noPack = pushBody([{ ref: 'refs/heads/main', new: 'a'.repeat(40) }], Buffer.from('no pack at all'))
    expect((await push(kit, 'notes', noPack)).text).toMatch(/ng refs\/heads\/main what follows its commands is no pack/)
    expect(refs().size).toBe(0)
  })
})

function tiny(
  text: string,
  content: Buffer | string = text,
): [ReturnType<typeof blob>, ReturnType<typeof blob>, ReturnType<typeof blob>] {
  const file = blob(content)
  const root = tree(['100644', 'file', file])
  return [file, root, commitOf(root, text)]
}

/** All requests have ended. */
async function settled(): Promise<void> {
  await until(() => kit.door.load().pushes === 0 && quarantines().length === 0)
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it did not come: ${JSON.stringify(kit.door.load())}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function childrenOf(pid: number): number[] {
  const listing = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return listing === '' ? [] : listing.split(' ').map(Number)
}
