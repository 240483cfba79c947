import { revalidatePath } from 'next/cache';
import Link from 'next/link';
import { Hydrated } from './hydrated';

const notes = (globalThis.notes ??= []);

async function add(form) {
  'use server';
  notes.push(form.get('note'));
  revalidatePath('/');
}

export default function Page() {
  return (
    <form action={add}>
      <input name="note" />
      <button>Add</button>
      <p id="notes">{notes.join(', ')}</p>
      <Link href="/linked">linked</Link>
      <Hydrated />
    </form>
  );
}

export const dynamic = 'force-dynamic';
