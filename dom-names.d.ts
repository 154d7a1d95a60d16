/**
 * Names of the browser's type library that the declarations of libp2p use. The whole library would let code here use `window` and its
 * like unnoticed, so only these are declared, as Node has them or as the standard writes them.
 */
type JsonWebKey = import('node:crypto').webcrypto.JsonWebKey
type CryptoKeyPair = import('node:crypto').webcrypto.CryptoKeyPair

interface EventInit {
  bubbles?: boolean
  cancelable?: boolean
  composed?: boolean
}

interface CustomEventInit<T = unknown> extends EventInit {
  detail?: T
}

interface AddEventListenerOptions {
  capture?: boolean
  once?: boolean
  passive?: boolean
  signal?: AbortSignal
}
