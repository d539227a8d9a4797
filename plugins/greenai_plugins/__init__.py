"""The plugins that come with greenai; they use only what a third party can use."""
