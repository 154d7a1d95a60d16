/** Bounds of the door to the outside, each with its reason. Bytes and milliseconds unless the name says otherwise. */
export const EGRESS_LIMITS = {
  /** Rules of one node: each request looks at all of them. */
  rules: 2_000,
  /** Selectors, methods, ports, headers or address ranges in one rule. */
  listItems: 64,
  /** A secret's value: the longest private keys in use are below 4 KiB. */
  secretBytes: 16 << 10,
  /** Secrets of one node. */
  secrets: 1_000,
  /** Services of one node. */
  services: 256,

  /** Connections one subject may hold open at once. */
  tunnels: 256,
  /** Connections of all subjects together: bounds the memory of the proxy. */
  tunnelsOfAll: 2_048,
  /** From the first byte of a request to the end of its headers, and for the first bytes inside a tunnel. */
  handshakeMs: 10_000,
  /** Request line and headers together. */
  headerBytes: 32 << 10,
  /** For one name to become addresses. */
  lookupMs: 5_000,
  /** For all addresses of one name together to answer. */
  dialMs: 10_000,
  /** A tunnel over which nothing moves ends. */
  idleMs: 5 * 60_000,
  /** A tunnel ends, however busy. */
  tunnelMs: 24 * 3_600_000,
  /** Request or response of a handler program, which sees both whole. */
  handlerBodyBytes: 4 << 20,
  /** Body of a response that a program in an isolate fetches: it is held whole, as base64 in JSON. */
  fetchBodyBytes: 4 << 20,
  /** For a handler program to answer. */
  handlerMs: 30_000,
  /** Handler calls that wait for an answer. */
  handlerCalls: 64,
  /** The first message inside a TLS tunnel. */
  clientHelloBytes: 64 << 10,
  /** Audit lines that wait to be taken by the daemon; what comes then is counted, not kept. */
  auditQueue: 4_096,
  /** Path in an audit line, in characters. */
  auditText: 512,
  /** Opening frame of a tunnel between nodes, and its answer. */
  tunnelOpeningBytes: 8 << 10,
  /** Streams one peer may hold open towards this node's door and services. */
  tunnelsPerPeer: 256,
} as const
