// What happened while the page did not see it.

import type { Back } from '../link/link';
import { gapInWords } from '../model/missed';
import { dismiss, usePage, type Page } from '../store/store';
import { duration, time } from '../ui/format';
import { line } from '../ui/harmless';
import { to } from './route';

const noticesOf = (page: Page) => page.notices;

function lost({ lostFor, tab }: Back): string {
  const ms = duration(lostFor / 1000);
  return tab ? `for ${ms} the tab that reads the stream for all did not answer; this one does it now.` : `the connection was lost for ${ms}.`;
}

export function Notices() {
  const notices = usePage(noticesOf);
  return (
    <div class="notices" role="log" aria-label="Notices">
      {notices.map(({ id, at, back }) => (
        <p key={id} class="banner banner-info" data-notice={back.anew ? 'anew' : 'missed'} data-over={back.over}>
          <span>
            {time(at / 1000)}: {lost(back)}{' '}
            {back.anew && (
              <>
                The gateway could not go on from there, so all is shown anew; <a href={to.runs()}>the runs</a> have what came before.{' '}
              </>
            )}
            {line(gapInWords(back))}
          </span>
          <button type="button" class="small" onClick={() => dismiss(id)} aria-label="Dismiss this notice">
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}
