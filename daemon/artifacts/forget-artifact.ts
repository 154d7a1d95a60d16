/** What is kept of an artifact beside the store: it goes when the artifact is removed, before anything could come again under its id. */
import type { Journal } from '../journal/journal.ts'
import { forgetFiles } from './git-door/forget-files.ts'
import { GitTokens } from './git-door/git-tokens.ts'
import { UseBook } from './large-files/use-book.ts'
import { HoldingBook } from './replicate/holding-book.ts'

/** Does nothing the second time. @throws MeshError E_STORAGE */
export async function forgetArtifact(journal: Journal, artifact: string): Promise<void> {
  await new GitTokens(journal).forget(artifact)
  await forgetFiles(journal, artifact)
  await new UseBook(journal).forget(artifact)
  await new HoldingBook(journal).forgetAll(artifact)
}
