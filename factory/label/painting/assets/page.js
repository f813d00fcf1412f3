// Parts of the page by id, and messages.

export const get = (id) => document.getElementById(id);

export function tell(text, kind = "") {
  get("news").textContent = text;
  get("news").className = kind;
}
