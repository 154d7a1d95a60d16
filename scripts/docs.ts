/** Writes what documents say of code: docs/CONFIG.md from the configuration schema, and the last section of docs/CLI.md from the command tree. */
import { readFileSync, writeFileSync } from 'node:fs'
import { processIo } from '../daemon/cli/io.ts'
import { buildProgram } from '../daemon/cli/program.ts'
import { commandReference, REFERENCE_MARK } from '../daemon/cli/reference.ts'
import { configDocument } from '../daemon/config/document.ts'

const document = (name: string): URL => new URL(`../docs/${name}`, import.meta.url)

function writeCommands(): void {
  const [written = ''] = readFileSync(document('CLI.md'), 'utf8').split(REFERENCE_MARK)
  const ignore = (): void => undefined
  const program = buildProgram({ io: processIo(), exit: ignore, help: ignore })
  writeFileSync(document('CLI.md'), `${written.trimEnd()}\n\n${commandReference(program)}`)
}

writeFileSync(document('CONFIG.md'), configDocument())
writeCommands()
