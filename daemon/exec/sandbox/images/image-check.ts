/** Whether an image may become a sandbox. Its entry point, user, folder, ports and health check do not matter: the profile's own values win. Pure. */
import { MeshError } from '../../../../protocol/errors.ts'
import type { EngineJson } from '../engine/engine-json.ts'
import type { ImageView } from '../sandbox.ts'

export const IMAGE_DIGEST = /^sha256:[0-9a-f]{64}$/

/** What a name may look like: registry, path, tag, digest. No white space, no leading dash. */
const IMAGE_NAME = /^[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,299}$/

/** @throws MeshError E_BAD_REQUEST */
export function checkImageName(name: string): string {
  if (typeof name !== 'string' || !IMAGE_NAME.test(name))
    throw new MeshError('E_BAD_REQUEST', 'Cannot use the image: its name is not one of registry/path:tag or a digest')
  return name
}

/** @param answer of the engine's ImageInspect. @throws MeshError E_IMAGE */
export function checkImage(answer: EngineJson, platform: string): ImageView {
  const digest = answer.text('Id')
  if (!IMAGE_DIGEST.test(digest)) throw refused('the engine names it by no digest')
  const volumes = answer.at('Config').at('Volumes').keys()
  if (volumes.length > 0)
    throw refused(
      'it declares volumes, which would be written outside the bounds of the sandbox',
      'Build it without VOLUME',
    )
  const found = `${answer.text('Os')}/${answer.text('Architecture')}`
  if (!samePlatform(found, platform)) throw refused(`it is for ${found}, this node's engine is ${platform}`)
  const created = Date.parse(answer.text('Created'))
  return {
    digest,
    names: answer.items('RepoTags').map((tag) => tag.text()),
    bytes: answer.number('Size'),
    createdAt: Number.isFinite(created) ? created : 0,
  }
}

const OTHER_NAMES: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' }

function samePlatform(image: string, engine: string): boolean {
  const plain = (platform: string): string => platform.replace(/[^/]+$/, (arch) => OTHER_NAMES[arch] ?? arch)
  // Images made by import may name neither.
  return image === '/' || plain(image) === plain(engine)
}

function refused(why: string, hint?: string): MeshError {
  return new MeshError('E_IMAGE', `Cannot use the image: ${why}`, hint === undefined ? {} : { hint })
}
