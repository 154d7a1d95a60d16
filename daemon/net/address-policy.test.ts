import { describe, expect, test } from 'vitest'
import { type AddressPolicy, refusal } from './address-policy.ts'
import { byUsefulness, dialTarget, parseAddress, resolveAddresses } from './addresses.ts'

const strict: AddressPolicy = { allowLoopback: false, allowPrivate: false }
const lan: AddressPolicy = { allowLoopback: false, allowPrivate: true }
const test1: AddressPolicy = { allowLoopback: true, allowPrivate: true }
const refused = (host: string, policy: AddressPolicy): boolean =>
  refusal({ host, family: host.includes(':') ? 6 : 4 }, policy) !== undefined

describe('P2P-16 addresses that peers name', () => {
  test.each([
    '0.0.0.0',
    '169.254.169.254',
    '169.254.0.1',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    '224.0.0.251',
    '255.255.255.255',
    '::',
    'fe80::1',
    'ff02::fb',
    'fd00:ec2::254',
    '64:ff9b::a9fe:a9fe',
    '2002:a9fe:a9fe::1',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '::169.254.169.254',
    'not an address',
    '1.2.3',
    '1.2.3.4.5',
  ])('P2P-16 %s is never dialed', (host) => {
    expect(refused(host, test1)).toBe(true)
  })

  test.each(['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:ffff:7f00:1'])(
    'P2P-16 %s needs leave',
    (host) => {
      expect(refused(host, lan)).toBe(true)
      expect(refused(host, test1)).toBe(false)
    },
  )

  test.each(['10.1.2.3', '192.168.1.1', '172.31.0.1', '100.64.0.1', 'fd12::1', '::ffff:10.0.0.1'])(
    'P2P-16 %s is private',
    (host) => {
      expect(refused(host, strict)).toBe(true)
      expect(refused(host, lan)).toBe(false)
    },
  )

  test.each(['8.8.8.8', '2606:4700::1111', '::ffff:8.8.8.8'])('%s is dialed', (host) => {
    expect(refused(host, strict)).toBe(false)
  })

  test('P2P-16 a name is refused until it is resolved', () => {
    expect(refusal({ host: 'localhost', family: 0 }, test1)).toBe('a name was not resolved')
  })
})

const peer = '12D3KooWGzBDWVSVAPYuzdhVUqkaLkHbsYEsvpmdzXjKxBn7GSbV'
const other = '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo'

test('only plain TCP to one host is dialed, and only the peer meant', async () => {
  for (const text of [
    `/ip4/1.2.3.4/tcp/1/p2p/${other}/p2p-circuit`,
    '/ip4/1.2.3.4/udp/1/quic-v1',
    '/ip4/1.2.3.4/tcp/1/ws',
    '/unix/tmp/a',
  ]) {
    const address = parseAddress(text)
    expect(address === undefined ? undefined : dialTarget(address), text).toBe(undefined)
  }
  const found = await resolveAddresses(
    peer,
    [
      'nonsense',
      '/ip4/1.2.3.4/tcp/9',
      `/ip6/2001:db8::1/tcp/9/p2p/${peer}`,
      `/ip4/1.2.3.4/tcp/9/p2p/${other}`,
      '/dns4/localhost/tcp/7',
    ],
    new AbortController().signal,
  )
  expect(found.map(String)).toEqual([
    `/ip4/1.2.3.4/tcp/9/p2p/${peer}`,
    `/ip6/2001:db8::1/tcp/9/p2p/${peer}`,
    `/ip4/127.0.0.1/tcp/7/p2p/${peer}`,
  ])
})

test('most useful addresses come first', () => {
  const sorted = [
    '/ip4/127.0.0.1/tcp/1',
    '/ip4/192.168.1.5/tcp/1',
    '/ip4/8.8.8.8/tcp/1',
    '/ip6/::1/tcp/1',
    '/ip4/172.20.0.1/tcp/1',
  ].sort(byUsefulness)
  expect(sorted[0]).toBe('/ip4/8.8.8.8/tcp/1')
  expect(sorted.slice(1, 3)).toEqual(['/ip4/192.168.1.5/tcp/1', '/ip4/172.20.0.1/tcp/1'])
})
