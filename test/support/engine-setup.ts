/** Lets the test files of one run share a Docker engine, which the first that needs it starts; ends it after the last. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { endEngine, SHARED_ENGINE_FOLDER } from './docker-engine.ts'

export default function setup(): () => Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-engine-'))
  process.env[SHARED_ENGINE_FOLDER] = folder
  return () => endEngine(folder)
}
