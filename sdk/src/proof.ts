/**
 * Proof that the other end is the daemon that owns the token, before it gets the token: HMAC-SHA256(token, "manyhands-daemon" || 0x00 || nonce), in hex.
 * Whoever merely listens on the daemon's address cannot answer.
 */
import { ManyhandsError } from './errors.ts'
import { challenge } from './replies.ts'
import { decodeText } from './shape.ts'

const encoder = new TextEncoder()

/** 256 random bits, hex. */
export function newNonce(): string {
  return hex(globalThis.crypto.getRandomValues(new Uint8Array(32)))
}

export function challengePath(nonce: string): string {
  return `/v0/challenge?nonce=${nonce}`
}

export async function expectedProof(token: string, nonce: string): Promise<string> {
  const { subtle } = globalThis.crypto
  const key = await subtle.importKey('raw', encoder.encode(token), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return hex(new Uint8Array(await subtle.sign('HMAC', key, encoder.encode(`manyhands-daemon\0${nonce}`))))
}

/** @throws ManyhandsError E_UNPROVEN */
export async function requireProof(token: string, nonce: string, status: number, body: string): Promise<void> {
  if (status === 200) {
    const expected = await expectedProof(token, nonce)
    if (decodeText(challenge, body, 'the answer to the challenge').proof === expected) return
  }
  throw new ManyhandsError('E_UNPROVEN', 'Cannot trust what answers: it does not prove that it holds the token', {
    hint: 'Another program may listen in place of the daemon, or the token belongs to another node; nothing was sent to it',
  })
}

function hex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}
