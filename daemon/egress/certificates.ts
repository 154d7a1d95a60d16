/**
 * The certificate authority of one door: an ECDSA P-256 key that lives in memory, signs certificates for hosts whose requests are looked into, and is trusted by
 * one guest. Certificates are X.509 version 3 (RFC 5280) in DER (X.690). Node reads certificates and does not write them; the maintained packages that do bring a
 * tree of twenty others into the process that holds credentials, so the two forms needed are written here and nothing is ever parsed.
 */
import {
  createECDH,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { literalAddress } from '../../protocol/egress/host.ts'

const DAY_MS = 86_400_000
/** Guests' clocks may be behind. */
const BACKDATED_MS = 2 * 3_600_000
const CA_DAYS = 365
const LEAF_DAYS = 30
/** Hosts whose certificates are kept; the oldest is made again when it is needed. */
const KEPT_HOSTS = 256

const OID = {
  ecdsaSha256: '2a8648ce3d040302',
  commonName: '550403',
  basicConstraints: '551d13',
  keyUsage: '551d0f',
  extendedKeyUsage: '551d25',
  subjectAltName: '551d11',
  subjectKeyId: '551d0e',
  authorityKeyId: '551d23',
  serverAuth: '2b06010505070301',
} as const
/** First bits of the KeyUsage string */
const CERT_AND_CRL_SIGN = Buffer.from([0x01, 0x06])
const DIGITAL_SIGNATURE = Buffer.from([0x07, 0x80])

export class Authority {
  readonly certificatePem: string
  readonly #name: Buffer
  readonly #keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  /** One key serves all hosts: whoever could take it from memory could take the authority's too */
  readonly #leafKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #contexts = new Map<string, { readonly until: number; readonly context: SecureContext }>()

  /** @param seed 32 secret bytes the key follows from, so that the authority is the same again after a restart; without, a new one */
  constructor(name: string, now: number, seed?: Buffer) {
    this.#name = distinguishedName(name)
    this.#keys = seed === undefined ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : keysFrom(seed)
    const certificate = this.#certificate(this.#name, this.#keys.publicKey, now, CA_DAYS, [
      extension(OID.basicConstraints, true, sequence(boolean(true), integer(Buffer.from([0])))),
      extension(OID.keyUsage, true, tlv(0x03, CERT_AND_CRL_SIGN)),
    ])
    this.certificatePem = pem(certificate)
  }

  /** What a TLS server for `host` (canonical) needs. */
  contextFor(host: string, now: number): SecureContext {
    const kept = this.#contexts.get(host)
    if (kept !== undefined && now < kept.until) return kept.context
    const context = createSecureContext({
      cert: pem(this.#leaf(host, now)),
      key: this.#leafKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      minVersion: 'TLSv1.2',
    })
    const [oldest] = this.#contexts.keys()
    if (this.#contexts.size >= KEPT_HOSTS && oldest !== undefined) this.#contexts.delete(oldest)
    this.#contexts.set(host, { until: now + ((LEAF_DAYS - 1) * DAY_MS) / 2, context })
    return context
  }

  #leaf(host: string, now: number): Buffer {
    return this.#certificate(distinguishedName('manyhands door'), this.#leafKeys.publicKey, now, LEAF_DAYS, [
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.keyUsage, true, tlv(0x03, DIGITAL_SIGNATURE)),
      extension(OID.extendedKeyUsage, false, sequence(tlv(0x06, Buffer.from(OID.serverAuth, 'hex')))),
      extension(OID.subjectAltName, false, sequence(alternativeName(host))),
    ])
  }

  #certificate(subject: Buffer, key: KeyObject, now: number, days: number, extensions: readonly Buffer[]): Buffer {
    const algorithm = sequence(tlv(0x06, Buffer.from(OID.ecdsaSha256, 'hex')))
    const keyIds = [
      extension(OID.subjectKeyId, false, tlv(0x04, keyId(key))),
      extension(OID.authorityKeyId, false, sequence(tlv(0x80, keyId(this.#keys.publicKey)))),
    ]
    const toSign = sequence(
      tlv(0xa0, integer(Buffer.from([2]))),
      integer(serial()),
      algorithm,
      this.#name,
      sequence(time(now - BACKDATED_MS), time(now + days * DAY_MS)),
      subject,
      spki(key),
      tlv(0xa3, sequence(...extensions, ...keyIds)),
    )
    const signature = sign('sha256', toSign, this.#keys.privateKey)
    return sequence(toSign, algorithm, tlv(0x03, Buffer.from([0]), signature))
  }
}

/** A key pair from secret bytes: hashed with a counter until they are a number below the order of the group, which all but one in four billion are. */
function keysFrom(seed: Buffer): { publicKey: KeyObject; privateKey: KeyObject } {
  const curve = createECDH('prime256v1')
  for (let counter = 0; ; counter++) {
    const d = createHash('sha256')
      .update('manyhands door')
      .update(seed)
      .update(Buffer.from([counter]))
      .digest()
    try {
      curve.setPrivateKey(d)
    } catch {
      continue
    }
    const point = curve.getPublicKey()
    const part = (bytes: Buffer) => bytes.toString('base64url')
    const key = { kty: 'EC', crv: 'P-256', d: part(d), x: part(point.subarray(1, 33)), y: part(point.subarray(33)) }
    const privateKey = createPrivateKey({ key, format: 'jwk' })
    return { privateKey, publicKey: createPublicKey(privateKey) }
  }
}

/** Positive, 16 bytes. */
function serial(): Buffer {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })
const keyId = (key: KeyObject): Buffer => createHash('sha256').update(spki(key)).digest().subarray(0, 20)

function alternativeName(host: string): Buffer {
  const address = literalAddress(host)
  return address === undefined ? tlv(0x82, Buffer.from(host, 'latin1')) : tlv(0x87, addressBytes(address))
}

/** `address` as the URL standard writes it. */
function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail] = address.split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const all = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

function distinguishedName(commonName: string): Buffer {
  const value = sequence(tlv(0x06, Buffer.from(OID.commonName, 'hex')), tlv(0x0c, Buffer.from(commonName, 'utf8')))
  return sequence(tlv(0x31, value))
}

function extension(oid: string, critical: boolean, value: Buffer): Buffer {
  return sequence(tlv(0x06, Buffer.from(oid, 'hex')), ...(critical ? [boolean(true)] : []), tlv(0x04, value))
}

/** GeneralizedTime where UTCTime has no room for the century. */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '')}`
  return Number(text.slice(0, 4)) < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text))
}

const boolean = (value: boolean): Buffer => tlv(0x01, Buffer.from([value ? 0xff : 0]))
/** Big endian, first bit clear */
const integer = (bytes: Buffer): Buffer => tlv(0x02, bytes)
const sequence = (...parts: readonly Buffer[]): Buffer => tlv(0x30, ...parts)

function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([tag]), lengthOf(body.length), body])
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length])
  if (length < 0x100) return Buffer.from([0x81, length])
  return Buffer.from([0x82, length >> 8, length & 0xff])
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
