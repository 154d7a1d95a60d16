import { describe, expect, it } from 'vitest'
import { checkUpstream, readListing } from './upstream.ts'

const at = (address: string) => () => Promise.resolve([address])
const check = (url: string, hosts = ['*'], address = '93.184.215.14') => checkUpstream(url, hosts, at(address))

describe('checkUpstream()', () => {
  it('GIT-02 takes http and https alone, and nothing that could be an option or a secret', async () => {
    const refused = [
      'ssh://git@example.org/x',
      'git@example.org:x',
      'file:///etc',
      '/etc',
      'ext::sh -c id',
      '--upload-pack=/bin/sh',
      '-x',
      'git://example.org/x',
      'https://user:pass@example.org/x',
      'https://example.org/x?service=y',
      'https://example.org/x y',
      'https:\\\\example.org',
      '',
    ]
    for (const url of refused) await expect(check(url), url).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    expect(await check('https://example.org/x.git')).toEqual({
      url: 'https://example.org/x.git',
      protocol: 'https',
      resolve: 'example.org:443:93.184.215.14',
    })
  })

  it('GIT-11 dials no address of this host or its network, however it is named, unless the host is named', async () => {
    for (const address of ['127.0.0.1', '10.1.2.3', '169.254.169.254', '::1', '::ffff:192.168.1.1', 'fd00::1'])
      await expect(check('http://intern.example/x', ['*'], address), address).rejects.toMatchObject({
        code: 'E_FORBIDDEN',
      })
    await expect(check('http://127.0.0.1/x')).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    await expect(check('http://[::1]:80/x')).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    await expect(check('http://0x7f.1/x')).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    await expect(check('https://other.example/x', ['intern.example'])).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    expect((await check('http://intern.example:3000/x', ['intern.example'], '10.1.2.3')).resolve).toBe(
      'intern.example:3000:10.1.2.3',
    )
  })
})

describe('readListing()', () => {
  const oid = 'a'.repeat(40)
  it('GIT-11 takes only refs of our grammar, whatever a server lists', () => {
    const names = [
      'refs/heads/main',
      'refs/heads/../../x',
      'refs/heads/__proto__',
      'refs/heads/-x',
      'refs/heads/$(id)',
      'refs/tags/v1',
      'refs/pull/1/head',
      'refs/manyhands/records/x',
    ]
    const text = [`ref: refs/heads/main\tHEAD`, `${oid}\tHEAD`, ...names.map((name) => `${oid}\t${name}`)].join('\n')
    const { refs, defaultBranch, left } = readListing(`${text}\n${oid}\trefs/tags/v1^{}\n`)
    expect([...refs.keys()]).toEqual(['refs/heads/main', 'refs/tags/v1'])
    expect(defaultBranch).toBe('main')
    expect(left).toBe(4)
    expect(readListing(`ref: refs/heads/../../x\tHEAD\n`).defaultBranch).toBeUndefined()
  })

  it('says of a repository of SHA-256 what it is', () => {
    expect(() => readListing(`${'a'.repeat(64)}\trefs/heads/main\n`)).toThrow(/SHA-256/)
  })

  it('GIT-11 refuses a flood, another form, and names that cannot both exist', () => {
    const flood = Array.from({ length: 2_000 }, (_, n) => `${oid}\trefs/heads/b${n}`).join('\n')
    expect(() => readListing(flood)).toThrow(/more than/)
    expect(() => readListing(`zzz\trefs/heads/x\n`)).toThrow(/form/)
    expect(() => readListing(`${oid}\trefs/heads/a\n${oid}\trefs/heads/a/b\n`)).toThrow(/both/)
  })
})
