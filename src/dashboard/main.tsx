// Owns: putting the dashboard into the page.
import { render } from "preact";
import { App } from "./app.tsx";
import { openSession } from "./session.tsx";
import "./styles.css";

const session = openSession();
session.feed.start();
render(<App session={session} />, document.body);
