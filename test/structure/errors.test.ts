/** The error registry and docs/ERRORS.md say the same, in both directions. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ERRORS, isErrorCode, MeshError, toMeshError } from '../../protocol/errors.ts'

interface Entry {
  readonly code: string
  readonly facts: string
  readonly text: string
}

function entriesOf(document: string): Entry[] {
  return document
    .split(/^### /m)
    .slice(1)
    .map((part) => {
      const [code = '', , facts = '', ...rest] = part.split('\n')
      return { code, facts, text: rest.join('\n') }
    })
}

/** What is wrong with a document, one sentence each. */
function compare(document: string): string[] {
  const entries = entriesOf(document)
  const codes = entries.map(({ code }) => code)
  const wrong = Object.keys(ERRORS)
    .filter((code) => !codes.includes(code))
    .map((code) => `${code} has no heading`)
  for (const [i, { code, facts, text }] of entries.entries()) {
    if (codes.indexOf(code) !== i) wrong.push(`${code} has two headings`)
    if (!isErrorCode(code)) {
      wrong.push(`${code} is not in the registry`)
      continue
    }
    const { title, status, exit, retry } = ERRORS[code]
    const expected = `${title}. HTTP ${status}, exit ${exit}, retry: ${retry ? 'yes' : 'no'}.`
    if (facts !== expected) wrong.push(`${code}: "${expected}" is wanted`)
    if (!/\*\*Cause\.\*\* .{20}/.test(text) || !/\*\*What to do\.\*\* .{10}/.test(text))
      wrong.push(`${code}: cause and remedy are wanted`)
  }
  return wrong
}

describe('docs/ERRORS.md', () => {
  const document = readFileSync(new URL('../../docs/ERRORS.md', import.meta.url), 'utf8')

  it('holds exactly the codes of the registry, with their status, exit code and retry', () => {
    expect(compare(document)).toEqual([])
  })

  it('would be seen to differ', () => {
    expect(compare(document.replace('### E_CPU\n', '### E_CPUS\n'))).toEqual([
      'E_CPU has no heading',
      'E_CPUS is not in the registry',
    ])
    expect(compare(document.replace('HTTP 421', 'HTTP 400'))).toHaveLength(1)
    expect(compare(`${document}\n### E_CPU\n`)).toContain('E_CPU has two headings')
  })
})

describe('the registry', () => {
  it('uses statuses and exit codes that exist', () => {
    for (const [code, { status, exit, title }] of Object.entries(ERRORS)) {
      expect(code).toMatch(/^E_[A-Z][A-Z_]*$/)
      expect(status, code).toSatisfy((value: number) => value >= 400 && value < 600)
      expect(exit, code).toSatisfy(
        (value: number) => value === 1 || value === 2 || value === 130 || (value >= 64 && value <= 78),
      )
      expect(title, code).toMatch(/^[A-Z].*[^.]$/)
    }
  })

  it('makes anything thrown a MeshError, showing nothing of what is not one', () => {
    const own = new MeshError('E_CPU', 'x')
    expect(toMeshError(own)).toBe(own)
    expect(toMeshError(new Error('inner')).message).not.toContain('inner')
  })
})
