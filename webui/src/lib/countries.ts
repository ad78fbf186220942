/** Countries whose helplines Guardian knows (blocklists/helplines.yaml; tests/test_webui.py compares). */
export const HELPLINE_COUNTRIES = ['md', 'ro', 'ua']
