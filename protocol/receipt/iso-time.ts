/**
 * Wall-clock milliseconds as ISO 8601 in UTC with milliseconds, e.g. "2026-11-21T09:30:00.000Z", for years 1970 to 9999. Days to a civil date after Howard Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap day is the last.
 */
export function isoTime(ms: number): string {
  const total = Math.max(0, Math.floor(ms))
  const days = Math.floor(total / 86_400_000)
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const leaps = Math.floor(dayOfEra / 1_460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096)
  const yearOfEra = Math.floor((dayOfEra - leaps) / 365)
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}T${clock(total % 86_400_000)}Z`
}

function clock(ms: number): string {
  const parts = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1_000) % 60]
  return `${parts.map((part) => pad(part, 2)).join(':')}.${pad(ms % 1_000, 3)}`
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0')
}
