// Ports only: what the bundler takes beside code.
declare module "*.css";
