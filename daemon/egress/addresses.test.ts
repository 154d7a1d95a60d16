import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalHost, literalAddress } from '../../protocol/egress/host.ts'
import { classify, forbiddenBy } from './addresses.ts'

const OWN = new Set(['203.0.114.7', '2400:1::5', '127.0.0.1', '::1'])
const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))
const hex = (high: number, low: number): string => ((high << 8) | low).toString(16)

/** Every way this project knows to write one IPv4 address inside an IPv6 one. */
const wrapped = ([a, b, c, d]: readonly [number, number, number, number]): string[] => {
  const tail = `${hex(a, b)}:${hex(c, d)}`
  return [
    `::ffff:${a}.${b}.${c}.${d}`,
    `::ffff:${tail}`,
    `0:0:0:0:0:FFFF:${tail}`,
    `::${a}.${b}.${c}.${d}`,
    `::ffff:0:${tail}`,
    `64:ff9b::${tail}`,
    `64:ff9b:1::${tail}`,
    `2002:${tail}::`,
    `2002:${tail}:1::1`,
    `2400::5efe:${tail}`,
    `2400::200:5efe:${tail}`,
  ]
}

/** Every number form of the URL standard. */
const spelled = ([a, b, c, d]: readonly [number, number, number, number]): string[] => {
  const whole = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
  const rest = (b << 16) | (c << 8) | d
  return [
    `${a}.${b}.${c}.${d}`,
    `${a}.${b}.${c}.${d}.`,
    `${whole}`,
    `0x${whole.toString(16)}`,
    `0${whole.toString(8)}`,
    `0x${a.toString(16)}.${rest}`,
    `0${a.toString(8)}.0${rest.toString(8)}`,
    `${a}.${b}.${(c << 8) | d}`,
    `0x${a.toString(16)}.0x${b.toString(16)}.0x${c.toString(16)}.0x${d.toString(16)}`,
  ]
}

test('SBX-12 an address that is not public is not public in any spelling', () => {
  const inside = fc.constantFrom(
    [127, 0, 0, 1],
    [10, 1, 2, 3],
    [172, 16, 0, 1],
    [192, 168, 1, 1],
    [169, 254, 169, 254],
    [169, 254, 9, 9],
    [100, 64, 0, 1],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [0, 0, 0, 0],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
    [203, 0, 114, 7],
  ) as fc.Arbitrary<[number, number, number, number]>
  fc.assert(
    fc.property(inside, octets, (start, more) => {
      const prefix = start[0] === 127 ? 1 : start[0] === 10 ? 1 : start[0] === 192 ? 2 : 4
      const address = [...start.slice(0, prefix), ...more.slice(prefix)] as [number, number, number, number]
      const plain = classify(address.join('.'), OWN)
      expect(plain).not.toBe('public')
      for (const text of wrapped(address)) expect(forbiddenBy(text, [], OWN), text).toBeDefined()
      for (const text of spelled(address)) {
        const host = canonicalHost(text)
        expect(host === undefined ? undefined : literalAddress(host), text).toBe(address.join('.'))
      }
    }),
  )
})

test('any text the URL standard reads as a number is that address here, never a name to be looked up', () => {
  const piece = fc.oneof(
    fc.nat(0xffffffff).map(String),
    fc.nat(255).map((n) => `0x${n.toString(16)}`),
    fc.nat(255).map((n) => `0${n.toString(8)}`),
  )
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), fc.boolean(), (pieces, dot) => {
      const text = pieces.join('.') + (dot ? '.' : '')
      const host = canonicalHost(text)
      if (host !== undefined) expect(host).toMatch(/^\d+\.\d+\.\d+\.\d+$/)
    }),
  )
})

test.each([
  ['8.8.8.8', 'public'],
  ['2606:4700::1111', 'public'],
  ['64:ff9b::808:808', 'public'],
  ['::ffff:8.8.8.8', 'public'],
  ['127.9.9.9', 'loopback'],
  ['::1', 'loopback'],
  ['0.0.0.0', 'own'],
  ['::', 'own'],
  ['203.0.114.7', 'own'],
  ['2400:1:0:0::5', 'own'],
  ['::ffff:203.0.114.7', 'own'],
  ['10.0.0.1', 'private'],
  ['fd12::1', 'private'],
  ['fec0::1', 'private'],
  ['100.64.1.1', 'private'],
  ['169.254.1.1', 'link-local'],
  ['fe80::1', 'link-local'],
  ['169.254.169.254', 'metadata'],
  ['fd00:ec2::254', 'metadata'],
  ['100.100.100.200', 'metadata'],
  ['168.63.129.16', 'metadata'],
  ['192.0.0.192', 'metadata'],
  ['224.0.0.1', 'multicast'],
  ['ff02::1', 'multicast'],
  ['2001:0:1::1', 'reserved'],
  ['2001:db8::1', 'reserved'],
  ['2002:808:808::', 'reserved'],
  ['4000::1', 'reserved'],
  ['fe80::1%eth0', 'reserved'],
  ['localhost', 'reserved'],
  ['', 'reserved'],
] as const)('%s is %s', (address, expected) => {
  expect(classify(address, OWN)).toBe(expected)
})

test('a rule opens the ranges it names; own, loopback and metadata addresses only one by one', () => {
  expect(forbiddenBy('10.1.2.3', ['10.0.0.0/8'], OWN)).toBeUndefined()
  expect(forbiddenBy('10.1.2.3', ['192.168.0.0/16'], OWN)).toBe('private')
  expect(forbiddenBy('127.0.0.1', ['0.0.0.0/0'], OWN)).toBe('loopback')
  expect(forbiddenBy('127.0.0.1', ['127.0.0.1'], OWN)).toBeUndefined()
  expect(forbiddenBy('203.0.114.7', ['203.0.114.0/24'], OWN)).toBe('own')
  expect(forbiddenBy('203.0.114.7', ['203.0.114.7/32'], OWN)).toBeUndefined()
  expect(forbiddenBy('169.254.169.254', ['169.254.0.0/16'], OWN)).toBe('metadata')
  expect(forbiddenBy('::ffff:127.0.0.1', ['127.0.0.1'], OWN)).toBe('loopback')
  expect(forbiddenBy('10.1.2.3', ['junk', '10.0.0.0/99', '10.0.0.0/8/8', '::/0'], OWN)).toBe('private')
})

test.each([
  'a@127.0.0.1',
  'a b',
  'a/b',
  'a\\b',
  '%31%32%37.1',
  'a..b',
  '.a',
  '',
  '[::1',
  '::1]',
  'a:80',
  '[::1]:80',
  '1.2.3.4.5',
  '256.256.256.256',
  'x'.repeat(64),
  '-a',
  'a\r\nb',
  'a\u0000b',
])('%j is no host', (text) => expect(canonicalHost(text)).toBeUndefined())

test.each([
  ['Localhost.', 'localhost'],
  ['LOCALHOST', 'localhost'],
  ['１２７.１', '127.0.0.1'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['::1', '[::1]'],
  ['[0:0::1]', '[::1]'],
  ['ⓛocalhost', 'localhost'],
  ['127.1.', '127.0.0.1'],
])('the host %s is %s', (text, host) => expect(canonicalHost(text)).toBe(host))
