/**
 * What is put into a guest so that common tools use the door without being told. Interception needs its authority trusted besides the public ones, and most tools take
 * one file that replaces what they trust, so that file holds both.
 */
import { rootCertificates } from 'node:tls'
import type { DoorKit } from './egress.ts'

/** Where the door listens inside a guest. */
export const DOOR_PORT = 3128
const DOOR_URL = `http://127.0.0.1:${DOOR_PORT}`
const FOLDER = '/run/manyhands'
const BUNDLE = `${FOLDER}/ca-bundle.pem`
const AUTHORITY = `${FOLDER}/ca.pem`
const NOT_PROXIED = 'localhost,127.0.0.1,::1'

/** Both spellings are in use: curl reads only the small `http_proxy`, others only the large. */
const PROXY_ENV = Object.fromEntries(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].flatMap((name) => [
    [name, DOOR_URL] as const,
    [name.toLowerCase(), DOOR_URL] as const,
  ]),
)

/** Each by the tools that read it: OpenSSL and Go, curl, Git, Python requests, pip, Cargo, AWS, Deno, npm where its own configuration names another. Node adds to what it trusts instead. */
const BUNDLE_ENV = [
  'SSL_CERT_FILE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'CARGO_HTTP_CAINFO',
  'AWS_CA_BUNDLE',
  'DENO_CERT',
  'NPM_CONFIG_CAFILE',
]

export interface KitInit {
  readonly caPem: string
  readonly placeholders: Readonly<Record<string, string>>
  /** Variables for placeholders */
  readonly env: Readonly<Record<string, string>>
  /** Certificates, PEM, of the operator's own authorities */
  readonly trustedCas: readonly string[]
}

export function doorKit({ caPem, placeholders, env, trustedCas }: KitInit): DoorKit {
  const own = [caPem, ...trustedCas].join('')
  return {
    caPem,
    placeholders,
    env: {
      ...PROXY_ENV,
      NO_PROXY: NOT_PROXIED,
      no_proxy: NOT_PROXIED,
      NODE_USE_ENV_PROXY: '1',
      NODE_EXTRA_CA_CERTS: AUTHORITY,
      ...Object.fromEntries(BUNDLE_ENV.map((name) => [name, BUNDLE])),
      ...env,
    },
    files: [
      { path: AUTHORITY, content: own, mode: 0o644 },
      { path: BUNDLE, content: `${rootCertificates.join('\n')}\n${own}`, mode: 0o644 },
      {
        path: '/etc/apt/apt.conf.d/90manyhands',
        content: `Acquire::http::Proxy "${DOOR_URL}";\nAcquire::https::Proxy "${DOOR_URL}";\nAcquire::https::CAInfo "${BUNDLE}";\n`,
        mode: 0o644,
      },
    ],
  }
}
