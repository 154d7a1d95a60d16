/**
 * Proof that the other end is the daemon that the token is for, before it gets the token: HMAC-SHA256(verifier, "manyhands-daemon" || 0x00 || nonce), in
 * hex, where the verifier is the SHA-256 of the token as hex text, which is all that the daemon keeps of a named token. Whoever merely listens on the
 * daemon's address cannot answer. The token is named to it by the first 16 hex digits of the SHA-256 of the verifier.
 */
import { ManyhandsError } from './errors.ts'
import { challenge } from './replies.ts'
import { decodeText } from './shape.ts'

const encoder = new TextEncoder()
const ID_DIGITS = 16

/** 256 random bits, hex. */
export function newNonce(): string {
  return hex(globalThis.crypto.getRandomValues(new Uint8Array(32)))
}

export interface Challenge {
  readonly path: string
  /** @throws ManyhandsError E_UNPROVEN, E_PROTOCOL */
  requireProof(status: number, body: string): Promise<void>
}

/** A challenge that only who knows the token can answer, and only once. */
export async function newChallenge(token: string): Promise<Challenge> {
  const nonce = newNonce()
  const verifier = await sha256(token)
  const id = (await sha256(verifier)).slice(0, ID_DIGITS)
  return {
    path: `${challengePath(nonce)}&token=${id}`,
    requireProof: (status, body) => requireProof(verifier, nonce, status, body),
  }
}

/** Any daemon answers this: a sign of life, and no proof. */
export function challengePath(nonce: string): string {
  return `/v0/challenge?nonce=${nonce}`
}

async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', encoder.encode(text))))
}

async function expectedProof(verifier: string, nonce: string): Promise<string> {
  const { subtle } = globalThis.crypto
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const key = await subtle.importKey('raw', encoder.encode(verifier), hmac, false, ['sign'])
  return hex(new Uint8Array(await subtle.sign('HMAC', key, encoder.encode(`manyhands-daemon\0${nonce}`))))
}

async function requireProof(verifier: string, nonce: string, status: number, body: string): Promise<void> {
  if (status === 200) {
    const expected = await expectedProof(verifier, nonce)
    if (decodeText(challenge, body, 'the answer to the challenge').proof === expected) return
  }
  throw new ManyhandsError('E_UNPROVEN', 'Cannot trust what answers: it does not prove that it holds the token', {
    hint: 'Another program may listen in place of the daemon, or the token was revoked or belongs to another node; it was not sent',
  })
}

function hex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}
