/**
 * A vitest reporter whose last word is `N passed, N failed` alone on a line, for readers that are programs.
 * It goes to the file named by TEST_SUMMARY_FILE when that is set, so that a caller can print it after other stages.
 */
import { writeFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestModule } from 'vitest/node'

/** A file that cannot be loaded has no tests to fail and still is a failure; so is an error outside any test. */
export function closingLine(modules: readonly TestModule[], unhandled: readonly SerializedError[]): string {
  let passed = 0
  let failed = unhandled.length
  for (const module of modules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state === 'passed') passed += 1
      if (state === 'failed') failed += 1
    }
    failed += module.errors().length
    // A hook that throws leaves its suite's tests skipped
    for (const suite of module.children.allSuites()) failed += suite.errors().length
  }
  return `${passed} passed, ${failed} failed`
}

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const line = `${closingLine(modules, unhandled)}\n`
    const file = process.env['TEST_SUMMARY_FILE']
    if (file) writeFileSync(file, line)
    else process.stdout.write(`\n${line}`)
  }
}
