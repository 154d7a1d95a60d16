import * as z from 'zod'
import { selects } from '../../protocol/egress/evaluate.ts'
import { canonicalHost, literalAddress } from '../../protocol/egress/host.ts'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { EgressName, type EgressSubject, Selector } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import { plainIssue, whatDoesNotFit } from '../../protocol/plain-issue.ts'
import { ListDocument } from './document.ts'
import type { ServiceView } from '../../protocol/api-sandboxes.ts'
import type { ServiceRegistry } from './egress.ts'

const Service = z.strictObject({
  // A label of DNS: guests reach it as a host
  name: EgressName.regex(/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/, 'is lower case letters, digits and "-"'),
  target: z
    .string()
    .max(300)
    .refine((text) => parseTarget(text) !== undefined, 'is "tcp:<host>:<port>"'),
  grants: z.array(Selector).min(1).max(EGRESS_LIMITS.listItems),
})

/** What this node lets others of the mesh reach, and whom. */
export class StoredServices implements ServiceRegistry {
  readonly #document: ListDocument<ServiceView>

  private constructor(document: ListDocument<ServiceView>) {
    this.#document = document
  }

  static async open(path: string): Promise<StoredServices> {
    return new StoredServices(await ListDocument.open(path, Service))
  }

  set onChange(listener: () => Promise<void>) {
    this.#document.onChange = listener
  }

  list(): readonly ServiceView[] {
    return this.#document.items
  }

  async expose(input: ServiceView): Promise<ServiceView> {
    const parsed = Service.safeParse(input, { error: plainIssue })
    if (!parsed.success)
      throw new MeshError('E_BAD_REQUEST', `The service is not valid: ${whatDoesNotFit(parsed.error)}`)
    const service = parsed.data
    await this.#document.change((services) => {
      const at = services.findIndex(({ name }) => name === service.name)
      if (at >= 0) return services.with(at, service)
      if (services.length >= EGRESS_LIMITS.services)
        throw new MeshError('E_OVERLOADED', `Cannot expose the service: a node has ${EGRESS_LIMITS.services} at most`, {
          hint: 'Remove some: manyhands service ls, manyhands service rm <name>',
        })
      return [...services, service]
    })
    return service
  }

  async remove(name: string): Promise<boolean> {
    let found = false
    await this.#document.change((services) => {
      found = services.some((service) => service.name === name)
      return found ? services.filter((service) => service.name !== name) : services
    })
    return found
  }

  /** Where the service leads, if it is here and granted. */
  granted(name: string, subject: EgressSubject): { host: string; port: number } | undefined {
    const service = this.#document.items.find((item) => item.name === name)
    if (service === undefined || !service.grants.some((grant) => selects(grant, subject))) return undefined
    return parseTarget(service.target)
  }
}

function parseTarget(text: string): { host: string; port: number } | undefined {
  const match = /^tcp:(.+):(\d{1,5})$/.exec(text)
  const host = match?.[1] === undefined ? undefined : canonicalHost(match[1])
  const port = Number(match?.[2])
  if (host === undefined || !(port >= 1 && port <= 65_535)) return undefined
  return { host: literalAddress(host) ?? host, port }
}
