/**
 * The direction of imports, by dependency-cruiser. It passes with exit code 0 when its parser does not fit the installed
 * compiler and it sees no file at all, so the gate has a floor: every source file must have been looked at.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { SOURCE_FOLDERS, sourceFiles } from './files.ts'
import { type Gate, runTool } from './gate.ts'

const Report = z.object({
  modules: z.array(z.object({ source: z.string() })),
  summary: z.object({
    violations: z.array(
      z.object({
        from: z.string(),
        to: z.string(),
        rule: z.object({ name: z.string(), severity: z.string() }),
        cycle: z.array(z.object({ name: z.string() })).optional(),
      }),
    ),
    ruleSetUsed: z
      .object({ forbidden: z.array(z.object({ name: z.string(), comment: z.string().optional() })).optional() })
      .optional(),
  }),
})
type Report = z.infer<typeof Report>

function violations(report: Report): string[] {
  const comments = new Map(report.summary.ruleSetUsed?.forbidden?.map((rule) => [rule.name, rule.comment ?? '']))
  return report.summary.violations.map(({ from, to, rule, cycle }) => {
    const path = cycle ? [from, ...cycle.map((step) => step.name)].join(' -> ') : `${from} -> ${to}`
    return `${rule.name}: ${path}. ${comments.get(rule.name) ?? ''}`
  })
}

/** Source files missing from what was cruised. */
export function unseen(cruised: readonly string[], sources: readonly string[]): string[] {
  const seen = new Set(cruised)
  return sources.filter((path) => !seen.has(path))
}

export const boundariesGate: Gate = {
  name: 'boundaries',
  keepsOut: 'imports against the direction, cycles, a second home for a heavy dependency',
  async run(root) {
    // Listed first: whoever writes meanwhile must not look unseen.
    const sources = sourceFiles(root)
    const folders = [...SOURCE_FOLDERS, 'proto/gen'].filter((folder) => existsSync(join(root, folder)))
    const tool = 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'
    const { stdout, stderr } = await runTool(root, tool, [
      '--config',
      '.dependency-cruiser.mjs',
      '-T',
      'json',
      ...folders,
    ])
    const report = Report.safeParse(parseJson(stdout))
    if (!report.success) return [`dependency-cruiser gave no report: ${stderr.trim() || report.error.message}`]
    const blind = unseen(
      report.data.modules.map((module) => module.source),
      sources,
    )
    return [
      ...violations(report.data),
      ...blind.map((path) => `${path} was not looked at: does dependency-cruiser understand the installed TypeScript?`),
    ]
  },
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
