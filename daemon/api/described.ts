/** Schemas held equal to the types of the contract, and the one that several of them use. */
import { z } from 'zod'
import type { ProgramInput } from '../../protocol/api.ts'
import { LIMITS } from '../../protocol/limits.ts'

/** `describes<T>()(schema)`: the schema gives a T and knows every key of it. */
export const describes =
  <T>() =>
  <S extends z.ZodType<T>>(
    schema: S & (keyof T extends keyof z.output<S> ? (keyof z.output<S> extends keyof T ? unknown : never) : never),
  ): S =>
    schema

export const programInput = describes<ProgramInput>()(
  z
    .strictObject({
      source: z.string().min(1).exactOptional(),
      filename: z.string().min(1).max(LIMITS.moduleNameBytes).exactOptional(),
      modules: z.record(z.string().min(1).max(LIMITS.moduleNameBytes), z.string()).exactOptional(),
      main: z.string().min(1).max(LIMITS.moduleNameBytes).exactOptional(),
    })
    .refine(({ source, modules }) => (source === undefined) !== (modules === undefined), {
      message: 'exactly one of source and modules is wanted',
    }),
)
