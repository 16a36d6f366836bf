// Owns: the field that narrows what a page shows.
import type { JSX } from "preact";
import { Icon } from "./icons.tsx";

export function Search({ value, label, onValue }: {
  readonly value: string;
  readonly label: string;
  readonly onValue: (value: string) => void;
}): JSX.Element {
  return (
    <label class="search">
      <Icon name="search" size={16} />
      <input data-search type="search" value={value} placeholder={label} aria-label={label} spellcheck={false}
        autocomplete="off" onInput={(event) => onValue(event.currentTarget.value)} />
      {value === "" && <kbd class="hide-small">/</kbd>}
    </label>
  );
}
