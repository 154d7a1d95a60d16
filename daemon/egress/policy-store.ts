import { randomBytes } from 'node:crypto'
import { evaluate, type Explanation, type Target } from '../../protocol/egress/evaluate.ts'
import { canonicalHost } from '../../protocol/egress/host.ts'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { type EgressSubject, Rule, type RuleInput } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import { plainIssue, whatDoesNotFit } from '../../protocol/plain-issue.ts'
import { parseRange } from './addresses.ts'
import { ListDocument } from './document.ts'
import type { PolicyStore } from './egress.ts'

/** The rules of this node, in a private file. */
export class StoredPolicy implements PolicyStore {
  readonly #document: ListDocument<Rule>

  private constructor(document: ListDocument<Rule>) {
    this.#document = document
  }

  static async open(path: string): Promise<StoredPolicy> {
    return new StoredPolicy(await ListDocument.open(path, Rule))
  }

  set onChange(listener: () => Promise<void>) {
    this.#document.onChange = listener
  }

  list(): readonly Rule[] {
    return this.#document.items
  }

  async put(input: Omit<RuleInput, 'id'> & { readonly id?: string }): Promise<Rule> {
    const parsed = Rule.safeParse(
      { ...input, id: input.id ?? `r${randomBytes(5).toString('hex')}` },
      { error: plainIssue },
    )
    if (!parsed.success) throw new MeshError('E_BAD_REQUEST', `The rule is not valid: ${whatDoesNotFit(parsed.error)}`)
    const rule = parsed.data
    const wrong = rule.addresses?.find((range) => parseRange(range) === undefined)
    if (wrong !== undefined)
      throw new MeshError(
        'E_BAD_REQUEST',
        `The rule is not valid: ${wrong} is no address or range (10.0.0.0/8, ::1/128)`,
      )
    await this.#document.change((rules) => {
      const at = rules.findIndex(({ id }) => id === rule.id)
      if (at >= 0) return rules.with(at, rule)
      if (rules.length >= EGRESS_LIMITS.rules)
        throw new MeshError('E_OVERLOADED', `Cannot add the rule: a node keeps ${EGRESS_LIMITS.rules} at most`, {
          hint: 'Remove some: manyhands policy ls, manyhands policy rm <id>',
        })
      return [...rules, rule]
    })
    return rule
  }

  async remove(id: string): Promise<boolean> {
    let found = false
    await this.#document.change((rules) => {
      found = rules.some((rule) => rule.id === id)
      return found ? rules.filter((rule) => rule.id !== id) : rules
    })
    return found
  }

  explain(subject: EgressSubject, target: Target): Explanation {
    const host = canonicalHost(target.host)
    if (host === undefined)
      throw new MeshError('E_BAD_REQUEST', `Cannot explain: ${target.host.slice(0, 100)} is no host`)
    return evaluate(this.list(), subject, { ...target, host })
  }
}
