import type { ArtifactStore } from '../store/artifact-store.ts'

/** As much of the store as the door needs. */
export type DoorStore = Pick<
  ArtifactStore,
  'writer' | 'get' | 'refs' | 'repository' | 'room' | 'reserve' | 'stage' | 'transact' | 'countFiles'
>
