/** The OpenAPI 3.1 document, from the rows that serve the requests and the schemas that check them. */
import { z } from 'zod'
import * as artifactReplies from './artifact-replies.ts'
import * as artifactRequests from './artifact-requests.ts'
import * as replies from './reply-schemas.ts'
import * as requests from './request-schemas.ts'
import type { AnyRow } from './route.ts'
import * as sandboxes from './sandbox-schemas.ts'

type Json = Record<string, unknown>

const KEYED: ReadonlySet<string> = new Set(['POST /v0/tasks', 'POST /v0/maps', 'POST /v0/sandboxes'])

export function openApiDocument(rows: readonly AnyRow[], version: string): Json {
  const components = componentSchemas()
  const paths: Record<string, Json> = {}
  for (const row of rows) {
    const path = row.path.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [row.method.toLowerCase()]: operation(row, components.refOf) }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'manyhands local API',
      version,
      description:
        'Served on a unix socket and, if configured, on loopback. Errors are problem+json; docs/ERRORS.md explains each code.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: { schemas: components.schemas, securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  }
}

function operation(row: AnyRow, refOf: (schema: z.ZodType) => Json): Json {
  const parameters = [...pathParameters(row), ...queryParameters(row), ...headerParameters(row)]
  return {
    operationId: operationId(row),
    summary: row.summary,
    'x-access': row.access,
    security: row.access === 'open' ? [] : [{ token: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(row.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: refOf(row.body) } } } }),
    responses: {
      [row.kind === 'upgrade' ? '101' : '200']: success(row, refOf),
      default: {
        description: 'What went wrong',
        content: { 'application/problem+json': { schema: refOf(replies.problem) } },
      },
    },
  }
}

function success(row: AnyRow, refOf: (schema: z.ZodType) => Json): Json {
  switch (row.kind) {
    case 'upgrade':
      return { description: 'The connection carries frames from here on' }
    case 'events':
      return {
        description: 'Server-sent events; the schema is that of each `data`',
        content: { 'text/event-stream': { schema: refOf(row.reply) } },
      }
    case 'text':
      return { description: 'Text', content: { 'text/plain': { schema: { type: 'string' } } } }
    case 'json':
      return { description: 'Done', content: { 'application/json': { schema: refOf(row.reply) } } }
  }
}

/** "POST /v0/tasks/:id/cancel" -> "postTasksIdCancel" */
function operationId(row: AnyRow): string {
  const words = row.path.replace('/v0', '').match(/[a-z]+/gi) ?? []
  return [row.method.toLowerCase(), ...words.map((word) => word.charAt(0).toUpperCase() + word.slice(1))].join('')
}

function pathParameters(row: AnyRow): Json[] {
  return [...row.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameters(row: AnyRow): Json[] {
  if (!(row.query instanceof z.ZodObject)) return []
  const shape: Readonly<Record<string, z.core.$ZodType>> = row.query.shape
  return Object.entries(shape).map(([name, schema]) => ({
    name,
    in: 'query',
    required: !z.safeParse(schema, undefined).success && !(schema instanceof z.ZodExactOptional),
    schema: plainSchema(schema),
  }))
}

function headerParameters(row: AnyRow): Json[] {
  const header = (name: string, description: string): Json => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  })
  if (row.kind === 'events') return [header('Last-Event-ID', 'Resume after this event')]
  if (KEYED.has(row.name)) return [header('Idempotency-Key', 'The same key and request give the same task or sandbox')]
  if (row.isKeyed)
    return [header('Idempotency-Key', 'The same key and request are done once, as long as the daemon runs')]
  return []
}

/** Every exported schema under its own name, referring to the others by name. */
function componentSchemas(): { schemas: Json; refOf: (schema: z.ZodType) => Json } {
  const registry = z.registry<{ id: string }>()
  const named = { ...artifactRequests, ...artifactReplies, ...sandboxes, ...requests, ...replies }
  for (const [name, schema] of Object.entries(named)) {
    if (schema instanceof z.ZodType) registry.add(schema, { id: name.charAt(0).toUpperCase() + name.slice(1) })
  }
  const { schemas } = z.toJSONSchema(registry, {
    uri: (id) => `#/components/schemas/${id}`,
    unrepresentable: 'any',
    io: 'input',
  })
  const cleaned = Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, withoutIds(schema)]))
  const refOf = (schema: z.ZodType): Json => {
    const id = registry.get(schema)?.id
    return id === undefined ? plainSchema(schema) : { $ref: `#/components/schemas/${id}` }
  }
  return { schemas: cleaned, refOf }
}

function plainSchema(schema: z.core.$ZodType): Json {
  return withoutIds(z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }))
}

/** A component's place is its name: a `$id` would make references relative to something else. */
function withoutIds(schema: object): Json {
  return Object.fromEntries(
    Object.entries(schema).filter(([key]) => key !== '$id' && key !== '$schema' && key !== 'id'),
  )
}
