import { describe, expect, it } from 'vitest'
import { openApiDocument } from './openapi.ts'
import { createRoutes, listRoutes } from './routes.ts'
import { createFakeTasks } from './testing/fake-tasks.ts'
import type { ApiServices } from './services.ts'
import type { Tokens } from './tokens.ts'

// The document reads rows, it calls nothing
const unused = new Proxy({ tasks: createFakeTasks() }, {}) as unknown as ApiServices & Tokens
const rows = listRoutes(createRoutes({ services: unused, tokens: unused, version: '1', openApi: () => undefined }))
const document = JSON.parse(JSON.stringify(openApiDocument(rows, '1.2.3'))) as {
  openapi: string
  info: { version: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, { type?: string; properties?: Record<string, unknown>; required?: string[] }> }
}
interface Operation {
  operationId: string
  security: unknown[]
  parameters?: { name: string; in: string; required: boolean }[]
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> }
  responses: Record<string, { content?: Record<string, { schema: { $ref?: string } }> }>
}
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
)

describe('the OpenAPI document', () => {
  it('is OpenAPI 3.1 and has an operation for each route, no more', () => {
    expect(document.openapi).toMatch(/^3\.1\./)
    expect(document.info.version).toBe('1.2.3')
    const names = operations.map(
      ({ path, method }) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
    )
    expect(names.sort()).toEqual(rows.map(({ name }) => name).sort())
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(rows.length)
  })

  it('declares every path parameter, and a problem for every failure', () => {
    for (const { path, operation } of operations) {
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      expect(
        (operation.parameters ?? []).filter((parameter) => parameter.in === 'path').map(({ name }) => name),
      ).toEqual(wanted)
      expect(operation.responses['default']?.content).toHaveProperty(['application/problem+json'])
      expect(Object.keys(operation.responses)).toHaveLength(2)
    }
  })

  it('has no reference that leads nowhere, and no name without use', () => {
    const text = JSON.stringify(document)
    const used = new Set([...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name ?? ''))
    for (const name of used) expect(document.components.schemas, name).toHaveProperty(name)
    expect(text.match(/"\$ref":"(?!#\/components\/schemas\/)/)).toBeNull()
    expect(text).not.toContain('"$id"')
    expect(text).not.toContain('"$schema"')
  })

  it('describes requests and replies by the schemas that check them', () => {
    const post = document.paths['/v0/tasks']?.['post']
    expect(post?.requestBody?.content['application/json']?.schema).toEqual({ $ref: '#/components/schemas/RunRequest' })
    expect(post?.responses['200']?.content?.['application/json']?.schema).toEqual({
      $ref: '#/components/schemas/TaskView',
    })
    expect(post?.parameters?.map(({ name }) => name)).toEqual(['Idempotency-Key'])
    expect(document.components.schemas['RunRequest']).toMatchObject({
      type: 'object',
      required: ['program'],
      additionalProperties: false,
    })
    expect(Object.keys(document.components.schemas['TaskView']?.properties ?? {})).toContain('progress')
    expect(document.paths['/v0/challenge']?.['get']?.parameters).toMatchObject([
      { name: 'nonce', in: 'query', required: true },
      { name: 'token', in: 'query', required: false },
    ])
    expect(document.paths['/v0/challenge']?.['get']?.security).toEqual([])
    expect(document.paths['/v0/tasks']?.['get']?.parameters).toMatchObject([
      { name: 'limit', required: false },
      { name: 'after' },
      { name: 'state' },
      { name: 'kind' },
    ])
    expect(document.paths['/v0/events']?.['get']?.responses['200']?.content).toHaveProperty(['text/event-stream'])
  })
})
