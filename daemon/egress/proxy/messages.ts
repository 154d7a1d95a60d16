/**
 * What daemon and proxy process tell each other over Node's IPC channel, as JSON objects. The proxy is ours, but it reads what guests and the whole Internet send, so
 * the daemon checks its messages as it would a stranger's; the proxy checks the daemon's only to fail early.
 *
 * Requests carry an `id` that the answer repeats.
 */
import * as z from 'zod'
import { EgressSubject, Rule } from '../../../protocol/egress/rule.ts'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'

const id = z.number().int().nonnegative()
const text = (most: number) => z.string().max(most)

export const DoorRules = z.object({
  rules: z.array(z.custom<Rule>((value) => Rule.safeParse(value).success)),
  /** Values by name: those the rules use, and no others */
  secrets: z.record(z.string(), z.string()),
  placeholders: z.record(z.string(), z.string()),
})
export type DoorRules = z.infer<typeof DoorRules>

export const DoorSettings = z.object({
  door: z.string(),
  subject: EgressSubject,
  socketPath: z.string(),
  /** 32 bytes, base64: the key of its certificate authority follows from it */
  caSeed: z.string(),
  limits: z.object({
    tunnels: z.number(),
    bytes: z.number().exactOptional(),
    tunnelMs: z.number(),
    idleMs: z.number(),
    handshakeMs: z.number(),
  }),
})
export type DoorSettings = z.infer<typeof DoorSettings>

export const ProxySettings = z.object({
  /** Asked instead of the host's resolver: "address" or "address:port" */
  dnsServers: z.array(z.string()).exactOptional(),
  /** Certificates, PEM, trusted besides the public ones when the proxy is the client */
  trustedCas: z.array(z.string()).exactOptional(),
  /** Unix socket of the daemon that leads to services */
  uplinkPath: z.string(),
})
export type ProxySettings = z.infer<typeof ProxySettings>

const headers = z.array(z.tuple([text(256), text(16 << 10)])).max(200)
export const HandlerRequest = z.object({
  program: text(64),
  door: text(64),
  method: text(32),
  url: text(16 << 10),
  headers,
  /** base64 */
  body: text(Math.ceil((EGRESS_LIMITS.handlerBodyBytes * 4) / 3) + 4),
})
export type HandlerRequest = z.infer<typeof HandlerRequest>

export const HandlerResponse = z.object({
  status: z.number().int().min(200).max(599),
  headers,
  body: HandlerRequest.shape.body,
})
export type HandlerResponse = z.infer<typeof HandlerResponse>

export const ToProxy = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), id, settings: ProxySettings }),
  z.object({ type: z.literal('open'), id, settings: DoorSettings, rules: DoorRules }),
  z.object({ type: z.literal('update'), id, door: z.string(), rules: DoorRules }),
  z.object({ type: z.literal('close'), id, door: z.string() }),
  /** Comes with the handle of a server that listens inside a guest */
  z.object({ type: z.literal('inside'), id, door: z.string() }),
  z.object({ type: z.literal('handled'), call: id, response: HandlerResponse.exactOptional() }),
])
export type ToProxy = z.infer<typeof ToProxy>

/** An audit line without what the daemon adds. */
export const AuditLine = z.object({
  door: text(64),
  at: z.number(),
  kind: z.enum(['tunnel', 'request', 'service', 'end', 'lost']),
  decision: z.enum(['allow', 'deny', 'failed']),
  reason: text(64),
  rule: text(64).exactOptional(),
  host: text(256).exactOptional(),
  port: z.number().int().exactOptional(),
  method: text(32).exactOptional(),
  path: text(EGRESS_LIMITS.auditText).exactOptional(),
  address: text(64).exactOptional(),
  bytesUp: z.number().exactOptional(),
  bytesDown: z.number().exactOptional(),
  ms: z.number().exactOptional(),
  note: text(EGRESS_LIMITS.auditText).exactOptional(),
})
export type AuditLine = z.infer<typeof AuditLine>

export const FromProxy = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('done'), id, caPem: text(4096).exactOptional() }),
  z.object({ type: z.literal('failed'), id, message: text(1024) }),
  z.object({ type: z.literal('audit'), lines: z.array(AuditLine).max(EGRESS_LIMITS.auditQueue + 1) }),
  z.object({ type: z.literal('handle'), call: id, request: HandlerRequest }),
])
export type FromProxy = z.infer<typeof FromProxy>
