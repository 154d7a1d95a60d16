/**
 * Network coordinates: two dimensions and a height, in milliseconds of round trip. The distance of two coordinates estimates the round trip between nodes that never
 * measured it. Algorithm: Dabek, Cox, Kaashoek, Morris, "Vivaldi: A Decentralized Network Coordinate System", SIGCOMM 2004, section 3.5 (adaptive time step) and
 * 5.4 (height). A sample moves us along the line between the two, weighted by how sure each side is; a lying peer moves us at most `MAX_STEP_MS` a sample.
 */
export interface Coordinate {
  readonly x: number
  readonly y: number
  /** The access link: added to every distance; at least 0 */
  readonly height: number
  /** Relative error of our estimates: 1 knows nothing */
  readonly error: number
}

const CE = 0.25
const CC = 0.25
const MIN_HEIGHT_MS = 0.01
const MIN_ERROR = 0.01
const MAX_ERROR = 1.5
/** No place on earth is farther; also keeps everything finite. */
const MAX_MS = 60_000
/** A round trip above this is a stalled host, not distance. */
const MAX_RTT_MS = 10_000
const MAX_STEP_MS = 100

export const ORIGIN: Coordinate = Object.freeze({ x: 0, y: 0, height: MIN_HEIGHT_MS, error: MAX_ERROR })

export function isCoordinate({ x, y, height, error }: Coordinate): boolean {
  const isNear = (value: number) => Number.isFinite(value) && Math.abs(value) <= MAX_MS
  return [x, y, height, error].every(isNear) && height >= 0 && error >= 0
}

/** Estimated round trip, milliseconds. */
export function distanceMs(a: Coordinate, b: Coordinate): number {
  return Math.hypot(a.x - b.x, a.y - b.y) + (a.height + b.height)
}

/**
 * Our coordinate after measuring a round trip to a peer with the coordinate `remote`.
 * @param rttMs measured; values that are no round trip change nothing
 * @param random in [0, 1): the direction when both are at one point
 */
export function moved(self: Coordinate, remote: Coordinate, rttMs: number, random: number): Coordinate {
  if (!(rttMs >= 0) || rttMs > MAX_RTT_MS || !isCoordinate(remote)) return self
  const rtt = Math.max(rttMs, 2 * MIN_HEIGHT_MS)
  const estimate = distanceMs(self, remote)
  const weight = self.error / Math.max(self.error + remote.error, 1e-9)
  const sampleError = Math.abs(estimate - rtt) / rtt
  const error = clamp(sampleError * CE * weight + self.error * (1 - CE * weight), MIN_ERROR, MAX_ERROR)
  const force = clamp(CC * weight * (rtt - estimate), -MAX_STEP_MS, MAX_STEP_MS)
  return { ...pushed(self, remote, force, random), error }
}

/** Moves along the unit vector from `remote` to `self`; heights add, so the height part always points up. */
function pushed(self: Coordinate, remote: Coordinate, force: number, random: number) {
  const dx = self.x - remote.x
  const dy = self.y - remote.y
  const flat = Math.hypot(dx, dy)
  const height = self.height + remote.height
  const length = flat + height
  const angle = random * 2 * Math.PI
  const [ux, uy] = flat > 1e-6 ? [dx / length, dy / length] : [Math.cos(angle), Math.sin(angle)]
  return {
    x: clamp(self.x + ux * force, -MAX_MS, MAX_MS),
    y: clamp(self.y + uy * force, -MAX_MS, MAX_MS),
    height: clamp(self.height + (length > 0 ? height / length : 0) * force, MIN_HEIGHT_MS, MAX_MS),
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value))
}
