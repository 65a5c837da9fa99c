// Desktop notifications, if the reader asked for them: a run that ended, a VM that died.

import { currentRun } from '../model/derive';
import type { Fleet } from '../model/fleet';
import type { StreamEvent } from '../model/types';
import { line } from '../ui/harmless';

const KEPT = 'gatewatch-notify';

export interface Word {
  title: string;
  body: string;
  /** One notice in the place of another of the same tag. */
  tag: string;
}

/** What is worth a notice among `events`: what happened now, not what a snapshot or a log of old tells. */
export function words(before: Fleet, events: readonly StreamEvent[]): Word[] {
  if (events.some((event) => event.name === 'reset' || event.name === 'connected')) return [];
  return events.flatMap((event): Word[] => {
    if (event.name === 'run_complete' && !event.data.historic) {
      const { vm, run, passed, failed, unknown } = event.data;
      const body = `${passed} passed, ${failed} failed${unknown > 0 ? `, ${unknown} unknown` : ''}`;
      return [{ title: `${line(vm)}: the run is over`, body, tag: `run-${run}` }];
    }
    if (event.name === 'status' && event.data.stage === 'unreachable') {
      const known = before.vms.get(event.data.vm);
      if (known?.status?.stage === 'unreachable' || known === undefined) return [];
      const task = currentRun(known)?.progress?.current_task;
      return [{ title: `${line(event.data.vm)} does not answer`, body: task ? `It was at ${line(task)}.` : '', tag: `vm-${event.data.vm}` }];
    }
    return [];
  });
}

export function supported(): boolean {
  return 'Notification' in window && window.isSecureContext;
}

export function wanted(): boolean {
  return supported() && localStorage.getItem(KEPT) === 'yes' && Notification.permission === 'granted';
}

/** Asks the browser for leave, as only a press of a button may. Whether there is leave. */
export async function want(yes: boolean): Promise<boolean> {
  if (!yes) {
    localStorage.removeItem(KEPT);
    return false;
  }
  if ((await Notification.requestPermission()) !== 'granted') return false;
  localStorage.setItem(KEPT, 'yes');
  return true;
}

/** Every tab may call it: notices of one tag take each other's place. */
export function say(list: readonly Word[]): void {
  if (!wanted()) return;
  try {
    for (const { title, body, tag } of list.slice(0, 5)) new Notification(title, { body, tag });
  } catch {
    // Browsers that show notifications only for a service worker, as on Android, have the constructor all the same.
  }
}
