/** Writes the last section of docs/CLI.md from the command tree. */
import { readFileSync, writeFileSync } from 'node:fs'
import { processIo } from '../daemon/cli/io.ts'
import { buildProgram } from '../daemon/cli/program.ts'
import { commandReference, REFERENCE_MARK } from '../daemon/cli/reference.ts'

const path = new URL('../docs/CLI.md', import.meta.url)
const [written = ''] = readFileSync(path, 'utf8').split(REFERENCE_MARK)
const ignore = (): void => undefined
const program = buildProgram({ io: processIo(), exit: ignore, help: ignore })
writeFileSync(path, `${written.trimEnd()}\n\n${commandReference(program)}`)
