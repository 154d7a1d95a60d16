import { isIPv4 } from 'node:net'

/** Whether listening on `host` reaches this host only: 127.0.0.0/8, ::1 or the name localhost. Other names are not resolved, and refused. */
export function isLoopbackHost(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  return host === '::1' || host === 'localhost'
}
